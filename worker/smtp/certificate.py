"""The certificate a mail server shows, in an administrator's words, whether it can be verified or not."""

import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final, Self

_NO_CHECK_TIME: Final = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python has no name for
_MOST_NAMES: Final = 4


@dataclass(frozen=True, slots=True)
class Certificate:
    """The host names and addresses it is for, who issued it, and when it ends."""

    names: tuple[str, ...]
    issuer: str
    expires: datetime

    @classmethod
    def of(cls, peer: Mapping[str, Any]) -> Self:
        """The certificate that `SSLObject.getpeercert()` describes."""
        names = tuple(_shown(kind, value) for kind, value in peer.get("subjectAltName", ()))
        expires = ssl.cert_time_to_seconds(peer["notAfter"])
        return cls(names or _names_in(peer["subject"]), _issuer(peer), datetime.fromtimestamp(expires, UTC))

    def __str__(self) -> str:
        shown = ", ".join(self.names[:_MOST_NAMES]) or "no name"
        more = f" and {len(self.names) - _MOST_NAMES} more" if len(self.names) > _MOST_NAMES else ""
        return f"for {shown}{more}, issued by {self.issuer}, valid until {self.expires:%Y-%m-%d}"


def careless() -> ssl.SSLContext:
    """Accepts every TLS version and certificate that OpenSSL still knows: for looking, never for mail."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def trusting(certificate: bytes) -> ssl.SSLContext:
    """Trusts exactly this certificate (DER), in date or not: Python describes none that it does not trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    context.load_verify_locations(cadata=certificate)
    return context


def _shown(kind: str, value: str) -> str:
    """OpenSSL writes IPv6 addresses in a way of its own."""
    with suppress(ValueError):
        return str(ip_address(value)) if kind == "IP Address" else value
    return value


def _issuer(peer: Mapping[str, Any]) -> str:
    if peer["issuer"] == peer["subject"]:
        return "itself"
    fields = dict(_fields(peer["issuer"]))
    return fields.get("commonName") or fields.get("organizationName") or "an authority without a name"


def _names_in(subject: Iterable[Iterable[tuple[str, str]]]) -> tuple[str, ...]:
    return tuple(value for name, value in _fields(subject) if name == "commonName")


def _fields(name: Iterable[Iterable[tuple[str, str]]]) -> Iterable[tuple[str, str]]:
    return (field for group in name for field in group)
