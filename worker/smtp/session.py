"""One SMTP session: opened as a plan says, then one mail after the other until the server or the pool ends it.

aiosmtplib connects, encrypts and speaks; what it raises becomes an error of this program here, once. A session
counts as in step only between mails whose every reply was read: whatever breaks, or is cancelled, in between
leaves it unusable, so a late reply can never be taken for another mail's.
"""

import asyncio
import base64
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPHeloError,
    SMTPResponse,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPStatus,
)

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.oauth2 import Token
from worker.smtp.plan import Anonymous, Basic, ConnectionPlan, Encryption, OAuth2
from worker.smtp.replies import Phase, Reply, explain, judge

FINAL_REPLY_SECONDS: Final = 600.0  # RFC 5321 section 4.5.3.2.6
QUIT_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 5.0
FRESH_SECONDS: Final = 1.0
BLOCK_BYTES: Final = 64 * 1024


class StaleSessionError(TransientError):
    """The session had died while idle, before anything of this mail was accepted: another session may do."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the server said of itself: its greeting, its extensions in lower case, and how the login was made.

    `tls_version` is such as `TLSv1.3`, empty without encryption; `mechanism` is empty for anonymous sessions.
    """

    greeting: str
    extensions: Mapping[str, str]
    tls_version: str
    mechanism: str


def trust(ca_file: Path | None = None) -> ssl.SSLContext:
    """What certificates and TLS versions are accepted: the system's authorities, and those in `ca_file`.

    Costs some 50 ms of CPU: make one and share it. Raises OSError if the file cannot be used.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


async def open_session(
    plan: ConnectionPlan,
    *,
    timeout: float,  # noqa: ASYNC109 - seconds for each step of the session, not for this call
    tls: ssl.SSLContext,
    token: Callable[[], Awaitable[Token]] | None = None,
    local_hostname: str,
) -> "Session":
    """Connects, encrypts and logs in as `plan` says. Raises PermanentError or TransientError.

    `token` is asked first, and only for OAuth2, so that without a token the mail server is left alone.
    """
    bearer = await _bearer(plan, token)
    smtp = SMTP(
        hostname=plan.host,
        port=plan.port,
        local_hostname=local_hostname,
        timeout=timeout,
        use_tls=plan.encryption is Encryption.IMPLICIT,
        start_tls=False,
        tls_context=tls,
    )
    with ExitStack() as undo:
        undo.callback(smtp.close)
        greeting = await _connect(smtp, plan, tls, min(timeout, PROBE_SECONDS))
        await _introduce(smtp)
        if plan.encryption is Encryption.STARTTLS:
            await _encrypt(smtp)
        mechanism = await _log_in(smtp, plan, bearer)
        server = _server(smtp, greeting, mechanism)
        session = Session(smtp, server, timeout, expires_at=bearer.expires_at if bearer else None)
        undo.pop_all()
    return session


class Session:
    """An open session. `expires_at` is the monotonic time its token ends at, None without a token.

    `committed` is true while the mail being sent may have been accepted already: from the last byte handed over
    until the server's reply to it. Whoever limits the time of `send` must not cut it then.
    """

    def __init__(self, smtp: SMTP, server: Server, timeout: float, *, expires_at: float | None) -> None:
        if smtp.protocol is None:
            raise explain(Phase.AUTH, SMTPServerDisconnected("Connection lost"))
        self.server = server
        self.expires_at = expires_at
        self.committed = False
        self._smtp = smtp
        self._protocol = smtp.protocol
        self._writer = asyncio.StreamWriter(
            cast("asyncio.WriteTransport", smtp.protocol.transport),
            smtp.protocol,
            None,
            asyncio.get_running_loop(),
        )
        self._timeout = timeout
        self._in_step = True
        self._fresh_until = time.monotonic() + FRESH_SECONDS

    def __repr__(self) -> str:
        return f"<Session {self._smtp.hostname}:{self._smtp.port} usable={self.usable} {self.server.mechanism}>"

    @property
    def usable(self) -> bool:
        """Whether another mail can be sent on it."""
        return self._in_step and self._smtp.is_connected

    async def send(self, sender: str, recipient: str, message: bytes, *, smtputf8: bool) -> Reply:
        """Sends `message`, with CRLF line ends, to one recipient; returns the server's reply to all of it.

        Raises PermanentError or TransientError. The latter is `unknown` if the connection broke after the final
        dot and before its reply, and a StaleSessionError if an idle session turned out to be dead.
        """
        options = self._mail_options(message, smtputf8=smtputf8)
        source = b"FROM:" + _path(sender, smtputf8=smtputf8)
        target = b"TO:" + _path(recipient, smtputf8=smtputf8)
        data = framed(message)
        fresh = time.monotonic() < self._fresh_until
        self._in_step, self._fresh_until = False, 0.0
        try:
            await self._begin(b"MAIL", source, *options, fresh=fresh)
            await self._ask(Phase.RCPT, b"RCPT", target)
            await self._ask(Phase.DATA, b"DATA")
        except (PermanentError, TransientError):
            await self._reset()
            raise
        await self._upload(data)
        return await self._verdict()

    async def close(self) -> None:
        """Takes leave of the server if the session is in step, within 5 seconds, and hangs up. Never raises."""
        with ExitStack() as otherwise:
            otherwise.callback(self._hang_up)
            if self.usable:
                with suppress(SMTPException, OSError):
                    await self._smtp.quit(timeout=min(self._timeout, QUIT_SECONDS))
                    otherwise.pop_all()

    def _hang_up(self) -> None:
        # Closing the transport would go on sending what is buffered of a mail that was given up.
        self._writer.transport.abort()
        self._smtp.close()

    def _mail_options(self, message: bytes, *, smtputf8: bool) -> list[bytes]:
        """The parameters of MAIL. Raises PermanentError for what the server is known not to accept."""
        offered = self.server.extensions
        limit = offered.get("size", "")
        if limit.isdecimal() and 0 < int(limit) < len(message):
            raise PermanentError(Reason.MESSAGE_TOO_LARGE, f"{len(message)} bytes, the server accepts {limit}")
        if smtputf8 and "smtputf8" not in offered:
            raise PermanentError(Reason.ADDRESS_UNSUPPORTED)
        options = [b"SIZE=%d" % len(message)] if "size" in offered else []
        if "8bitmime" in offered and not message.isascii():
            options.append(b"BODY=8BITMIME")
        return [*options, b"SMTPUTF8"] if smtputf8 else options

    async def _begin(self, *command: bytes, fresh: bool) -> None:
        try:
            await self._ask(Phase.MAIL, *command)
        except TransientError as error:
            if fresh or self._smtp.is_connected:
                raise
            raise StaleSessionError(error.reason, error.detail, scope=error.scope) from error

    async def _ask(self, phase: Phase, *command: bytes) -> None:
        with _in(phase):
            response = await self._smtp.execute_command(*command)
        if response.code not in _SUCCESS[phase]:
            raise judge(phase, _reply(response))

    async def _reset(self) -> None:
        """After a refusal the server forgets the mail, and the session is in step again, if it answers."""
        with suppress(SMTPException, OSError):
            await self._smtp.rset()
            self._in_step = True

    async def _upload(self, data: bytes) -> None:
        """Hands over everything; a connection that breaks before the last block breaks before the final dot."""
        last = (len(data) - 1) // BLOCK_BYTES * BLOCK_BYTES
        with _in(Phase.BODY):
            for start in range(0, last, BLOCK_BYTES):
                self._protocol.write(data[start : start + BLOCK_BYTES])
                async with asyncio.timeout(self._timeout):
                    await self._writer.drain()
            self._protocol.write(data[last:])
        self.committed = True

    async def _verdict(self) -> Reply:
        try:
            response = await self._protocol.read_response(timeout=FINAL_REPLY_SECONDS)
        except (SMTPException, OSError) as lost:
            # The message's own trouble, not only the server's: each time it may have been delivered.
            detail = explain(Phase.BODY, lost).detail
            raise TransientError(Reason.SMTP_UNREACHABLE, detail, scope=Scope.MESSAGE, unknown=True) from lost
        self.committed = False
        self._in_step = response.code != SMTPStatus.domain_unavailable
        if response.code != SMTPStatus.completed:
            raise judge(Phase.BODY, _reply(response))
        return _reply(response)


def framed(message: bytes) -> bytes:
    """`message` as it follows DATA: dots that begin a line doubled, and the final dot (RFC 5321 section 4.5.2).

    Raises PermanentError for line ends other than CRLF, behind which a second mail could be smuggled.
    """
    lines = message.count(b"\r\n")
    if message.count(b"\n") != lines or message.count(b"\r") != lines:
        raise PermanentError(Reason.UNEXPECTED, "the message has line ends other than CRLF")
    first = b"." if message.startswith(b".") else b""
    end = b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"
    return first + message.replace(b"\r\n.", b"\r\n..") + end


def _path(address: str, *, smtputf8: bool) -> bytes:
    """`address` in angle brackets. Raises PermanentError for one that would break out of its command."""
    if not _ADDRESS.fullmatch(address) or not (smtputf8 or address.isascii()):
        raise PermanentError(Reason.ADDRESS_UNSUPPORTED, "it cannot stand in an SMTP command")
    return b"<%s>" % address.encode()


async def _bearer(plan: ConnectionPlan, token: Callable[[], Awaitable[Token]] | None) -> Token | None:
    if not isinstance(plan.authentication, OAuth2):
        return None
    if token is None:
        raise TypeError("a plan with OAuth2 needs a source of tokens")
    return await token()


async def _connect(smtp: SMTP, plan: ConnectionPlan, tls: ssl.SSLContext, probe_seconds: float) -> SMTPResponse:
    try:
        return await smtp.connect()
    except SMTPResponseException as refusal:
        raise judge(Phase.GREETING, Reply(refusal.code, refusal.message)) from None
    except (SMTPException, OSError, ValueError) as fault:
        if not isinstance(fault.__cause__, SMTPException):
            raise explain(Phase.CONNECT, fault) from fault
        if plan.encryption is not Encryption.IMPLICIT and await _speaks_tls(plan, tls, probe_seconds):
            raise PermanentError(Reason.SMTP_PORT_MISMATCH, "the port expects implicit SSL") from fault
        raise explain(Phase.GREETING, fault) from fault


async def _speaks_tls(plan: ConnectionPlan, tls: ssl.SSLContext, seconds: float) -> bool:
    """Whether a port that accepted the connection and sent no greeting was waiting for implicit SSL."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(plan.host, plan.port, ssl=tls)
    except OSError as fault:
        return explain(Phase.CONNECT, fault).reason in {Reason.SMTP_CERTIFICATE, Reason.SMTP_TLS_VERSION}
    writer.transport.abort()
    return True


async def _introduce(smtp: SMTP) -> None:
    with _in(Phase.EHLO):
        try:
            await smtp.ehlo()
        except SMTPHeloError as refusal:
            if refusal.code not in _KNOWS_NO_EHLO:
                raise
            await smtp.helo()


async def _encrypt(smtp: SMTP) -> None:
    if not smtp.supports_extension("starttls"):
        raise PermanentError(Reason.SMTP_STARTTLS_MISSING)
    with _in(Phase.STARTTLS):
        await smtp.starttls()
    await _introduce(smtp)


async def _log_in(smtp: SMTP, plan: ConnectionPlan, bearer: Token | None) -> str:
    """One login by the first mechanism that the server and the settings share; returns its name."""
    who = plan.authentication
    if isinstance(who, Anonymous):
        return ""
    mechanism = _mechanism(who, smtp.server_auth_methods)
    secret = who.password if isinstance(who, Basic) else cast("Token", bearer).value
    lines = _SASL[mechanism](who.username, secret.get_secret_value())
    with _in(Phase.AUTH):
        reply = await _converse(smtp, mechanism, [_base64(line) for line in lines])
    if reply.code != SMTPStatus.auth_successful:
        raise judge(Phase.AUTH, reply)
    return mechanism


def _mechanism(who: Basic | OAuth2, offered: Sequence[str]) -> str:
    usable = ("plain", "login") if isinstance(who, Basic) else ("xoauth2", "oauthbearer")
    for mechanism in usable:
        if mechanism in offered:
            return mechanism
    needed, given = " or ".join(usable), ", ".join(offered) or "nothing"
    raise PermanentError(Reason.SMTP_AUTHENTICATION_MISSING, f"needed for AUTH: {needed}; offered: {given}")


async def _converse(smtp: SMTP, mechanism: str, lines: Sequence[bytes]) -> Reply:
    """AUTH with all the client has to say (RFC 4954), and the server's last word with its challenge decoded."""
    command = b"AUTH", mechanism.upper().encode()
    initial = () if mechanism == "login" else lines[:1]
    response = await smtp.execute_command(*command, *initial)
    rest = lines[len(initial) :]
    if initial and response.code in _TAKES_NO_INITIAL_RESPONSE:
        response, rest = await smtp.execute_command(*command), lines
    challenge = ""
    for line in rest:
        if response.code != SMTPStatus.auth_continue:
            break
        challenge = response.message
        response = await smtp.execute_command(line)
    return _without(lines, Reply(response.code, f"{response.message} {_reason_in(challenge)}".rstrip()))


def _base64(line: str) -> bytes:
    # A password from the environment may hold bytes that are no UTF-8: they go as they came.
    return base64.b64encode(line.encode(errors="surrogateescape"))


def _reason_in(challenge: str) -> str:
    """The JSON by which XOAUTH2 and OAUTHBEARER say why a token is refused."""
    try:
        decoded = base64.b64decode(challenge, validate=True).decode()
    except ValueError:
        return ""
    return decoded if decoded.startswith("{") else ""


def _without(lines: Sequence[bytes], reply: Reply) -> Reply:
    """Some servers repeat the command they refuse."""
    text = reply.text
    for line in filter(None, lines):
        text = text.replace(line.decode(), "<secret>")
    return Reply(reply.code, text)


def _server(smtp: SMTP, greeting: SMTPResponse, mechanism: str) -> Server:
    with _in(Phase.AUTH):
        tls = smtp.get_transport_info("ssl_object")
    return Server(greeting.message, dict(smtp.esmtp_extensions), tls.version() if tls else "", mechanism)


@contextmanager
def _in(phase: Phase) -> Iterator[None]:
    """The border: what the library raises within becomes an error of this program."""
    try:
        yield
    except SMTPResponseException as refusal:
        raise judge(phase, Reply(refusal.code, refusal.message)) from None
    except (SMTPException, OSError) as fault:
        raise explain(phase, fault) from fault


def _reply(response: SMTPResponse) -> Reply:
    return Reply(response.code, response.message)


_SUCCESS: Final[Mapping[Phase, tuple[int, ...]]] = {
    Phase.MAIL: (SMTPStatus.completed,),
    Phase.RCPT: (SMTPStatus.completed, SMTPStatus.will_forward),
    Phase.DATA: (SMTPStatus.start_input,),
}
_ADDRESS: Final = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^\s<>"\x00-\x1f\x7f]+)@[^\s<>"\x00-\x1f\x7f]+'
)
_KNOWS_NO_EHLO: Final = {SMTPStatus.unrecognized_command, SMTPStatus.command_not_implemented}
_TAKES_NO_INITIAL_RESPONSE: Final = {
    SMTPStatus.unrecognized_parameters,
    SMTPStatus.parameter_not_implemented,
}

_SASL: Final[Mapping[str, Callable[[str, str], tuple[str, ...]]]] = {
    "plain": lambda user, password: (f"\0{user}\0{password}",),
    "login": lambda user, password: (user, password),
    # The second line answers the challenge in which the server explains a refusal.
    "xoauth2": lambda user, token: (f"user={user}\1auth=Bearer {token}\1\1", ""),
    "oauthbearer": lambda user, token: (f"n,a={_saslname(user)},\1auth=Bearer {token}\1\1", "\1"),
}
"""What the client says with each mechanism, given user and secret, before base64."""


def _saslname(user: str) -> str:
    return user.replace("=", "=3D").replace(",", "=2C")
