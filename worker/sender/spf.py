"""Whether a domain lets a host send its mail: the check of SPF (RFC 7208 section 4), without explanations.

The libraries for it are unmaintained, or bring ten others along; this one passes the RFC's own test suite.
"""

from collections.abc import Awaitable, Callable, Mapping, Sized
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from typing import Final

from worker.sender.lookup import Address, LookupFailedError, Names
from worker.sender.spf_macros import expanded
from worker.sender.spf_record import Directive, Record, RecordError, Result, is_spf, parse

MOST_LOOKUPS: Final = 10
MOST_VOID_LOOKUPS: Final = 2
MOST_HOSTS: Final = 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check says, and why in a few words; `visited` are the domains whose records were read."""

    result: Result
    why: str
    visited: tuple[str, ...]


async def check_host(names: Names, address: Address, sender: str, helo: str = "") -> Verdict:
    """Whether `address` may send mail from `sender`, `local@domain`, introducing itself as `helo`."""
    local, _, domain = sender.rpartition("@")
    check = _Check(names, _unmapped(address), local or "postmaster", domain, helo or domain)
    try:
        result = await check.domain(domain)
    except _EndOfCheckError as end:
        return Verdict(end.result, str(end), tuple(check.visited))
    except LookupFailedError as fault:
        return Verdict(Result.TEMPERROR, str(fault), tuple(check.visited))
    return Verdict(result, check.matched, tuple(check.visited))


def _unmapped(address: Address) -> Address:
    """Section 5: an IPv4 address in the clothes of IPv6 counts as IPv4."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


class _EndOfCheckError(Exception):
    """The record cannot be evaluated, whatever the rest of it says."""

    def __init__(self, why: str, result: Result = Result.PERMERROR) -> None:
        super().__init__(why)
        self.result = result


class _Check:
    """One check: what it is about, and what it has used up of its limits (section 4.6.4)."""

    def __init__(self, names: Names, address: Address, local: str, sender_domain: str, helo: str) -> None:
        self._names = names
        self._address = address
        self._local = local
        self._sender_domain = sender_domain
        self._helo = helo
        self._lookups = 0
        self._void_lookups = 0
        self.visited: list[str] = []
        self.matched = ""

    async def domain(self, domain: str) -> Result:
        """What the record of `domain` says."""
        record = await self._record(domain)
        if record is None:
            return Result.NONE
        for directive in record.directives:
            if await self._MECHANISMS[directive.kind](self, directive, domain):
                self.matched = f"{directive.text} in the record of {domain}"
                return directive.result
        if record.redirect:
            return await self._redirected(record.redirect, domain)
        self.matched = f"nothing in the record of {domain} matches"
        return Result.NEUTRAL

    async def _record(self, domain: str) -> Record | None:
        if not _is_name(domain):
            return None
        self.visited.append(domain.lower())
        found = [text for text in await self._names.texts(domain) if is_spf(text)]
        if len(found) > 1:
            raise _EndOfCheckError(f"{domain} has {len(found)} SPF records")
        try:
            return parse(found[0]) if found else None
        except RecordError as error:
            raise _EndOfCheckError(f"in the record of {domain}, {error}") from error

    async def _redirected(self, spec: str, domain: str) -> Result:
        self._count_lookup()
        target = await self._expanded(spec, domain)
        result = await self.domain(target)
        if result is Result.NONE:
            raise _EndOfCheckError(f"{domain} redirects to {target}, which has no record")
        return result

    async def _all(self, _directive: Directive, _domain: str) -> bool:
        return True

    async def _ip(self, directive: Directive, _domain: str) -> bool:
        network = directive.network
        return network is not None and network.version == self._address.version and self._address in network

    async def _include(self, directive: Directive, domain: str) -> bool:
        self._count_lookup()
        target = await self._expanded(directive.domain, domain)
        result = await self.domain(target)
        if result is Result.NONE:
            raise _EndOfCheckError(f"{domain} includes {target}, which has no record")
        return result is Result.PASS

    async def _a(self, directive: Directive, domain: str) -> bool:
        self._count_lookup()
        target = await self._expanded(directive.domain, domain)
        addresses = await self._addresses(target)
        self._count_void(addresses)
        return self._is_among(addresses, directive)

    async def _mx(self, directive: Directive, domain: str) -> bool:
        self._count_lookup()
        target = await self._expanded(directive.domain, domain)
        hosts = await self._names.exchanges(target)
        self._count_void(hosts)
        if len(hosts) > MOST_HOSTS:
            raise _EndOfCheckError(f"{target} has more than {MOST_HOSTS} MX records")
        for host in hosts:
            if self._is_among(await self._addresses(host), directive):
                return True
        return False

    async def _ptr(self, directive: Directive, domain: str) -> bool:
        self._count_lookup()
        target = (await self._expanded(directive.domain, domain)).lower()
        return any(_is_within(name, target) for name in await self._own_names())

    async def _exists(self, directive: Directive, domain: str) -> bool:
        self._count_lookup()
        target = await self._expanded(directive.domain, domain)
        addresses = await self._names.addresses(target, 4)
        self._count_void(addresses)
        return bool(addresses)

    _MECHANISMS: Final[Mapping[str, Callable[["_Check", Directive, str], Awaitable[bool]]]] = {
        "all": _all,
        "ip4": _ip,
        "ip6": _ip,
        "include": _include,
        "a": _a,
        "mx": _mx,
        "ptr": _ptr,
        "exists": _exists,
    }

    def _count_lookup(self) -> None:
        self._lookups += 1
        if self._lookups > MOST_LOOKUPS:
            raise _EndOfCheckError(f"its evaluation takes more than {MOST_LOOKUPS} DNS lookups")

    def _count_void(self, answer: Sized) -> None:
        self._void_lookups += not answer
        if self._void_lookups > MOST_VOID_LOOKUPS:
            raise _EndOfCheckError(f"more than {MOST_VOID_LOOKUPS} of the names in it are not there")

    async def _addresses(self, name: str) -> list[Address]:
        return await self._names.addresses(name, self._address.version)

    def _is_among(self, addresses: list[Address], directive: Directive) -> bool:
        prefix = directive.prefixes[self._address.version == 6]  # noqa: PLR2004 - IPv6
        return any(self._address in ip_network(f"{found}/{prefix}", strict=False) for found in addresses)

    async def _own_names(self) -> list[str]:
        """The address's names that lead back to it (section 5.5); failures count as no name."""
        try:
            names = (await self._names.hosts(self._address))[:MOST_HOSTS]
            return [name.lower() for name in names if self._address in await self._addresses(name)]
        except LookupFailedError:
            return []

    async def _expanded(self, spec: str, domain: str) -> str:
        """`spec` with its macros replaced (section 7.3); for an empty one the record's own `domain`."""
        if not spec:
            return domain
        values = self._values(domain)
        if "%{p" in spec.lower():
            values["p"] = await self._own_name(domain)
        return expanded(spec, values)

    def _values(self, domain: str) -> dict[str, str]:
        six = self._address.version == 6  # noqa: PLR2004 - IPv6
        digits = ".".join(self._address.exploded.replace(":", "")) if six else str(self._address)
        return {
            "s": f"{self._local}@{self._sender_domain}",
            "l": self._local,
            "o": self._sender_domain,
            "d": domain,
            "i": digits,
            "v": "ip6" if six else "in-addr",
            "h": self._helo,
        }

    async def _own_name(self, domain: str) -> str:
        """Section 7.3: the domain itself if it is among them, else a name below it, else any."""
        names = await self._own_names()
        ranked = sorted(names, key=lambda name: (name != domain.lower(), not _is_within(name, domain.lower())))
        return ranked[0] if ranked else "unknown"


def _is_name(domain: str) -> bool:
    labels = domain.removesuffix(".").split(".")
    return len(labels) > 1 and all(0 < len(label) < 64 for label in labels)  # noqa: PLR2004 - RFC 1035


def _is_within(name: str, domain: str) -> bool:
    return f".{name}".endswith(f".{domain}")
