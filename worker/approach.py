"""The way to the mail server, a step at a time, each with what was seen: for people, without sending mail."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Final, cast
from urllib.parse import urlsplit

from aiosmtplib import SMTPException

from contracts.dead_letter import Reason
from worker.errors import Scope, TransientError
from worker.smtp.certificate import Certificate
from worker.smtp.claims import shortcoming
from worker.smtp.diagnose import Diagnosis
from worker.smtp.oauth2 import Token, request_token
from worker.smtp.plan import Anonymous, ConnectionPlan, Encryption, OAuth2
from worker.smtp.replies import Phase, Reply, explain
from worker.smtp.sasl import log_in
from worker.smtp.steps import connect, dial, encrypt, introduce

STEPS: Final = ("dns", "tcp", "greeting", "tls", "ehlo", "token", "auth")
QUIT_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 2.0

Step = Callable[[], Awaitable[str]]


class Approach:
    """One connection as `plan` says; each reply may take `seconds`.

    Every step returns what it saw, in words, and raises PermanentError or TransientError. `warnings` are for
    whoever runs them to take: what a step noticed besides.
    """

    def __init__(self, plan: ConnectionPlan, tls: ssl.SSLContext, seconds: float) -> None:
        self._plan = plan
        self._tls = tls
        self._seconds = seconds
        self._smtp = dial(plan, seconds=seconds, tls=tls)
        self._diagnosis = Diagnosis()
        self._addresses: list[str] = []
        self._token: Token | None = None
        self.warnings: list[str] = []

    def close(self) -> None:
        """Hangs up, in the middle of a step too."""
        self._smtp.close()

    def steps(self) -> Iterator[tuple[str, Step]]:
        """The steps in the order of this plan: with implicit SSL the greeting comes encrypted."""
        methods: dict[str, Step] = {
            "dns": self._resolve,
            "tcp": self._connect,
            "greeting": self._listen,
            "tls": self._encrypt,
            "ehlo": self._introduce,
            "token": self._fetch_token,
            "auth": self._log_in,
        }
        names = list(STEPS)
        if self._plan.encryption is Encryption.IMPLICIT:
            names[2:4] = "tls", "greeting"
        return ((name, methods[name]) for name in names)

    async def _resolve(self) -> str:
        with _connecting():
            found = await asyncio.get_running_loop().getaddrinfo(
                self._plan.host, self._plan.port, type=socket.SOCK_STREAM
            )
        self._addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
        return "not needed for an address" if _is_address(self._plan.host) else ", ".join(self._addresses)

    async def _connect(self) -> str:
        faults: list[OSError] = []
        for address in self._addresses:
            with _collected(faults):
                await self._reach(address)
                others = f"; tried in vain before: {len(faults)} of the host's addresses" if faults else ""
                return f"connected to {address} port {self._plan.port}{others}"
        with _connecting():
            raise faults[0]

    async def _reach(self, address: str) -> None:
        async with asyncio.timeout(self._seconds / len(self._addresses)):
            _, writer = await asyncio.open_connection(address, self._plan.port)
        writer.transport.abort()

    async def _listen(self) -> str:
        listening = asyncio.ensure_future(connect(self._smtp))
        listening.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.wait([listening], timeout=PATIENCE_SECONDS)
            if not listening.done():
                await self._look_meanwhile()
            async with self._diagnosis.watching(self._plan, self._smtp):
                greeting = await listening
        finally:
            listening.cancel()
        return Reply(greeting.code, greeting.message).line

    async def _look_meanwhile(self) -> None:
        """A port that is slow to greet may be waiting itself, for implicit SSL; that is told without delay."""
        slow = TransientError(Reason.SMTP_UNREACHABLE, "no greeting yet", scope=Scope.SERVER)
        finding = await self._diagnosis.of(self._plan, slow)
        if finding is not slow:
            raise finding

    async def _encrypt(self) -> str:
        if self._plan.encryption is Encryption.NONE:
            return "not used: everything is sent in plain text"
        async with self._diagnosis.watching(self._plan, self._smtp):
            implicit = self._plan.encryption is Encryption.IMPLICIT
            sealed = await (self._implicit_ssl() if implicit else self._starttls())
        certificate = sealed.getpeercert()
        return f"{sealed.version()}, certificate {Certificate.of(certificate) if certificate else 'unknown'}"

    async def _implicit_ssl(self) -> ssl.SSLObject:
        with _connecting():
            async with asyncio.timeout(self._seconds):
                _, writer = await asyncio.open_connection(self._plan.host, self._plan.port, ssl=self._tls)
        writer.transport.abort()
        return cast("ssl.SSLObject", writer.get_extra_info("ssl_object"))

    async def _starttls(self) -> ssl.SSLObject:
        await introduce(self._smtp)
        await encrypt(self._smtp)
        return cast("ssl.SSLObject", self._smtp.get_transport_info("ssl_object"))

    async def _introduce(self) -> str:
        async with self._diagnosis.watching(self._plan, self._smtp):
            await introduce(self._smtp)
        offered = (f"{name.upper()} {more}".strip() for name, more in self._smtp.esmtp_extensions.items())
        return ", ".join(offered) or "the server offers no extensions"

    async def _fetch_token(self) -> str:
        client = self._plan.authentication
        if not isinstance(client, OAuth2):
            return "not needed without OAuth2"
        trusted = ssl.create_default_context()
        self._token = token = await request_token(client, trusted, self._seconds, time.monotonic)
        if client.token_endpoint.endswith(_ENTRA_PATH):
            self.warnings += filter(None, [shortcoming(token.value.get_secret_value())])
        minutes = (token.expires_at - time.monotonic()) / 60
        return f"from {urlsplit(client.token_endpoint).hostname}, good for {minutes:.0f} minutes"

    async def _log_in(self) -> str:
        who = self._plan.authentication
        mechanism = await log_in(self._smtp, who, self._token)
        with suppress(SMTPException, OSError):
            await self._smtp.quit(timeout=min(self._seconds, QUIT_SECONDS))
        if isinstance(who, Anonymous):
            return "not needed: mail is sent anonymously"
        return f"logged in by {mechanism.upper()} as {who.username}"


@contextmanager
def _collected(faults: list[OSError]) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        faults.append(fault)


@contextmanager
def _connecting() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as fault:
        raise explain(Phase.CONNECT, fault) from fault


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


_ENTRA_PATH: Final = "/oauth2/v2.0/token"
