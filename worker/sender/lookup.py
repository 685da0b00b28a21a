"""What the DNS says about mail, asked through dnspython; an answer that is not there is an empty list."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, Protocol, Self

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename

Address = IPv4Address | IPv6Address

DNS_PORT: Final = 53
LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Server:
    """A DNS server."""

    address: Address
    port: int = DNS_PORT

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`. Raises ValueError."""
        has_port = text.count(":") == 1 or "]:" in text
        host, _, port = text.rpartition(":") if has_port else (text, "", str(DNS_PORT))
        if not (port.isdecimal() and 0 < int(port) <= LAST_PORT):
            raise ValueError("the port is no number between 1 and 65535")
        return cls(ip_address(host.removeprefix("[").removesuffix("]")), int(port))


class LookupFailedError(Exception):
    """The DNS gave no answer: no server, a time-out, or a server's failure."""


class Names(Protocol):
    """Lookups. Each gives an empty list for a name that is not there, or has no such record.

    Each raises LookupFailedError.
    """

    async def texts(self, name: str) -> list[str]:
        """The TXT records, each of its strings joined."""

    async def addresses(self, name: str, version: int) -> list[Address]:
        """The A records for `version` 4, the AAAA records for 6."""

    async def exchanges(self, name: str) -> list[str]:
        """The MX records' hosts, the preferred first."""

    async def hosts(self, address: Address) -> list[str]:
        """The PTR records' names."""


class Resolver:
    """Lookups at `server`, or at those of the system; each within `seconds`.

    Raises LookupFailedError where the system names no server.
    """

    def __init__(self, server: Server | None, *, seconds: float) -> None:
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        except dns.resolver.NoResolverConfiguration as fault:
            raise LookupFailedError("this system names no DNS server") from fault
        if server is not None:
            self._resolver.nameservers = [str(server.address)]
            self._resolver.port = server.port
        self._resolver.lifetime = seconds
        self._resolver.cache = dns.resolver.Cache()

    async def texts(self, name: str) -> list[str]:
        """See Names."""
        return [b"".join(record.strings).decode("utf-8", "replace") for record in await self._ask(name, "TXT")]

    async def addresses(self, name: str, version: int) -> list[Address]:
        """See Names."""
        records = await self._ask(name, "A" if version == 4 else "AAAA")  # noqa: PLR2004 - IPv4
        return [ip_address(record.address) for record in records]

    async def exchanges(self, name: str) -> list[str]:
        """See Names."""
        records = sorted(await self._ask(name, "MX"), key=lambda record: int(record.preference))
        return [_text(record.exchange) for record in records]

    async def hosts(self, address: Address) -> list[str]:
        """See Names."""
        name = _text(dns.reversename.from_address(str(address)))
        return [_text(record.target) for record in await self._ask(name, "PTR")]

    async def _ask(self, name: str, kind: str) -> Sequence[Any]:
        # Any, since dnspython makes the classes of records as it meets them.
        try:
            return list(await self._resolver.resolve(f"{name.rstrip('.')}.", kind, search=False))
        except _NOT_THERE:
            return []
        except (dns.exception.DNSException, OSError) as fault:
            raise LookupFailedError("the DNS gave no answer") from fault


_NOT_THERE: Final = (
    dns.resolver.NXDOMAIN,
    dns.resolver.NoAnswer,
    # No name at all cannot be there either.
    dns.name.EmptyLabel,
    dns.name.LabelTooLong,
    dns.name.NameTooLong,
)


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)
