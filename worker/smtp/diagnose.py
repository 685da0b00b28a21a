"""When connecting fails: why, before the network is blamed.

The guide's most common cause of connection failures is a port that does not match the encryption mode. So the
port is looked at: what it speaks, and what it shows when nothing is demanded of it. The findings name the
settings to change. They are kept for a few seconds, so that a burst of failures costs the server one look.
"""

import asyncio
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final, cast

from aiosmtplib import SMTP

from contracts.dead_letter import Reason
from worker.errors import NotifyError, PermanentError, Scope, TransientError
from worker.smtp.certificate import Certificate, careless, trusting
from worker.smtp.plan import ConnectionPlan, Encryption
from worker.smtp.replies import root_of
from worker.smtp.steps import connect, dial, encrypt, introduce

LOOK_SECONDS: Final = 3.0
"""For each step of a look: a port that speaks at all does so within this."""

KEPT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Handshake:
    """A TLS handshake in which nothing was demanded: what was agreed on."""

    version: str
    cipher: str


@dataclass(frozen=True, slots=True)
class Sight:
    """What a port showed.

    `greeting` is what it said in plain text, if it did, and `starttls` whether it offers that; `at_once` is a
    handshake without a word before it, `upgraded` one after STARTTLS. At the certificate is only looked where
    it is at fault. `busy` is true where it said that it takes nobody just now.
    """

    greeting: str = ""
    starttls: bool = False
    at_once: Handshake | None = None
    upgraded: Handshake | None = None
    certificate: Certificate | None = None
    busy: bool = False


@dataclass(slots=True)
class _Kept:
    sight: Sight = Sight()
    until: float = 0.0
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Diagnosis:
    """What ports showed, kept for `KEPT_SECONDS`; each step of a look may take `seconds`."""

    def __init__(self, *, seconds: float = LOOK_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: defaultdict[tuple[str, int, Encryption, Reason], _Kept] = defaultdict(_Kept)

    @asynccontextmanager
    async def watching(self, plan: ConnectionPlan, smtp: SMTP) -> AsyncIterator[None]:
        """Around steps of `smtp` before the login: what they raise is raised as what it turns out to be.

        The connection is closed before the look, which may else be one too many for the server.
        """
        try:
            yield
        except (PermanentError, TransientError) as error:
            smtp.close()
            finding = await self.of(plan, error)
            if finding is error:
                raise
            raise finding from error

    async def of(
        self, plan: ConnectionPlan, error: PermanentError | TransientError
    ) -> PermanentError | TransientError:
        """What `error`, met before the login, turns out to be: something more particular, or itself."""
        if not _is_worth_a_look(error):
            return error
        kept = self._kept[plan.host, plan.port, plan.encryption, error.reason]
        async with kept.looking:
            if self._clock() >= kept.until:
                kept.sight = await look(plan, error.reason, self._seconds)
                kept.until = self._clock() + KEPT_SECONDS
        return verdict(plan.encryption, kept.sight, error)


async def look(plan: ConnectionPlan, reason: Reason, seconds: float) -> Sight:
    """What the plan's port shows, in two connections at most. `reason` is that of the error in question."""
    if reason is Reason.SMTP_CERTIFICATE:
        return Sight(certificate=await _certificate(plan, seconds))
    at_once = await _at_once(plan, seconds)
    return Sight(at_once=at_once) if at_once else await _plain_sight(plan, seconds)


def verdict(
    encryption: Encryption, sight: Sight, error: PermanentError | TransientError
) -> PermanentError | TransientError:
    """What `error` is in the light of `sight`; itself where that tells no more. Pure."""
    if mismatch := _mismatch(encryption, sight):
        return PermanentError(Reason.SMTP_PORT_MISMATCH, mismatch)
    if outdated := _outdated(sight.at_once or sight.upgraded, error):
        return PermanentError(Reason.SMTP_TLS_VERSION, outdated)
    if sight.certificate:
        return PermanentError(Reason.SMTP_CERTIFICATE, _about_certificate(sight.certificate, error))
    if _has_passed(sight, error):
        return TransientError(Reason.SMTP_UNREACHABLE, error.detail, scope=Scope.SERVER)
    return error


_OF_ONE_HANDSHAKE: Final = frozenset({Reason.SMTP_PORT_MISMATCH, Reason.SMTP_TLS_VERSION})
_IN_QUESTION: Final = frozenset(
    {
        Reason.SMTP_UNREACHABLE,
        Reason.SMTP_PORT_MISMATCH,
        Reason.SMTP_TLS_VERSION,
        Reason.SMTP_CERTIFICATE,
    }
)
_NOTHING_TO_SEE: Final = (socket.gaierror, UnicodeError, ConnectionRefusedError)
_FAULTS: Final = (NotifyError, OSError, ValueError)


def _is_worth_a_look(error: PermanentError | TransientError) -> bool:
    return error.reason in _IN_QUESTION and not isinstance(root_of(error), _NOTHING_TO_SEE)


async def _at_once(plan: ConnectionPlan, seconds: float) -> Handshake | None:
    with suppress(*_FAULTS):
        return _handshake(await _sealed(replace(plan, encryption=Encryption.IMPLICIT), careless(), seconds))
    return None


async def _plain_sight(plan: ConnectionPlan, seconds: float) -> Sight:
    sight = Sight()
    smtp = dial(replace(plan, encryption=Encryption.NONE), seconds=seconds, tls=careless())
    with suppress(*_FAULTS), closing(smtp):
        try:
            greeting = await connect(smtp)
        except TransientError as refusal:
            return Sight(busy=refusal.reason is not Reason.SMTP_UNREACHABLE)
        sight = Sight(f"{greeting.code} {greeting.message}")
        await introduce(smtp)
        sight = replace(sight, starttls=smtp.supports_extension("starttls"))
        if plan.encryption is Encryption.STARTTLS:
            await encrypt(smtp)
            sight = replace(sight, upgraded=_handshake(smtp.get_transport_info("ssl_object")))
    return sight


async def _certificate(plan: ConnectionPlan, seconds: float) -> Certificate | None:
    with suppress(*_FAULTS):
        shown = (await _sealed(plan, careless(), seconds)).getpeercert(binary_form=True)
        if shown:
            described = (await _sealed(plan, trusting(shown), seconds)).getpeercert()
            return Certificate.of(described) if described else None
    return None


async def _sealed(plan: ConnectionPlan, tls: ssl.SSLContext, seconds: float) -> ssl.SSLObject:
    """The TLS of a connection that was encrypted as the plan says, and closed."""
    if plan.encryption is Encryption.IMPLICIT:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(plan.host, plan.port, ssl=tls)
        writer.transport.abort()
        return cast("ssl.SSLObject", writer.get_extra_info("ssl_object"))
    smtp = dial(plan, seconds=seconds, tls=tls)
    with closing(smtp):
        await connect(smtp)
        await introduce(smtp)
        await encrypt(smtp)
        return cast("ssl.SSLObject", smtp.get_transport_info("ssl_object"))


def _handshake(sealed: ssl.SSLObject) -> Handshake:
    cipher = sealed.cipher()
    return Handshake(sealed.version() or "", cipher[0] if cipher else "")


def _mismatch(encryption: Encryption, sight: Sight) -> str:
    if encryption is Encryption.IMPLICIT and sight.greeting:
        seen = "the port answered in plain text although EmailSmtpUseImplicitSSL is true"
        return f"{seen}: {_WAY_OUT[sight.starttls]}"
    if encryption is not Encryption.IMPLICIT and sight.at_once:
        return f"the port waits for implicit SSL although {_EXPECTED[encryption]}"
    return ""


def _outdated(handshake: Handshake | None, error: NotifyError) -> str:
    if handshake is None:
        return ""
    if handshake.version in _OLD_VERSIONS:
        spoken = _OLD_VERSIONS[handshake.version]
        return f"the server speaks {spoken} at most; the server that EmailSMTPHost names needs to be updated"
    if error.reason is Reason.SMTP_TLS_VERSION and handshake.cipher not in _sound_ciphers():
        return (
            f"the server agrees on {handshake.version} only with cryptography that counts as broken "
            f"({handshake.cipher}); the server that EmailSMTPHost names needs to be updated"
        )
    return ""


def _has_passed(sight: Sight, error: NotifyError) -> bool:
    """Whether the server is only overloaded, or was: it says so, or the same handshake succeeds now."""
    is_well_now = sight.at_once or sight.upgraded
    return sight.busy or (error.reason in _OF_ONE_HANDSHAKE and is_well_now is not None)


@cache
def _sound_ciphers() -> frozenset[str]:
    return frozenset(cipher["name"] for cipher in ssl.create_default_context().get_ciphers())


def _about_certificate(certificate: Certificate, error: NotifyError) -> str:
    root = root_of(error)
    code = root.verify_code if isinstance(root, ssl.SSLCertVerificationError) else 0
    return f"{error.detail.rstrip('.')}; it is {certificate}{_CERTIFICATE_ADVICE.get(code, '')}"


_WAY_OUT: Final = {
    True: "it offers STARTTLS, so set EmailSmtpUseImplicitSSL to false and EmailSmtpUseSSL to true, "
    "or set EmailSmtpPort to the implicit SSL port, usually 465",
    False: "set EmailSmtpPort to the implicit SSL port, usually 465, or EmailSmtpUseImplicitSSL to false",
}
"""Whether a port that speaks plain text offers STARTTLS -> what to set instead of implicit SSL."""

_EXPECTED: Final = {
    Encryption.STARTTLS: "EmailSmtpUseSSL asks for STARTTLS: set EmailSmtpUseImplicitSSL to true, "
    "or set EmailSmtpPort to the STARTTLS port, usually 587",
    Encryption.NONE: "neither SSL setting is enabled: set EmailSmtpUseImplicitSSL to true, "
    "or set EmailSmtpPort to the port without encryption, usually 25",
}

_OLD_VERSIONS: Final = {"SSLv3": "SSL 3.0", "TLSv1": "TLS 1.0", "TLSv1.1": "TLS 1.1"}

_UNKNOWN_ISSUER: Final = (
    ": if that is your own certificate authority, set NOTIFY_SMTP_CA_FILE to its certificate"
)
_ANOTHER_NAME: Final = ": set EmailSMTPHost to a name that the certificate is for"
_OUT_OF_DATE: Final = ": it has to be renewed, or the clock of this host set"
_CERTIFICATE_ADVICE: Final = {
    # The numbers are OpenSSL's, from its x509_vfy.h.
    9: _OUT_OF_DATE,
    10: _OUT_OF_DATE,
    18: _UNKNOWN_ISSUER,
    19: _UNKNOWN_ISSUER,
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    62: _ANOTHER_NAME,
    64: _ANOTHER_NAME,
}
"""OpenSSL's reason not to accept a certificate -> what to do about it."""
