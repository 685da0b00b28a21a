"""A DNS server for one zone of the test's own: answers over UDP and TCP on a loopback port, and remembers.

    zone = {"example.com": [{"TXT": "v=spf1 a -all"}, {"A": "192.0.2.1"}], "slow.example": ["TIMEOUT"]}
    async with DnsServer(zone) as server:
        ...                             # let something ask server.host, server.port
        assert ("example.com", "TXT") in server.queries

An MX record is `[preference, host]`, a TXT record a string or the list of its strings. A name with `TIMEOUT`
never answers what it has no record for, one with `SERVFAIL` says that it cannot.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

SECONDS_TO_LIVE: Final = 60
LONGEST_CHAIN: Final = 8
LARGEST_DATAGRAM: Final = 512
LARGEST_STRING: Final = 255

Zone = Mapping[str, Sequence[Mapping[str, Any] | str]]


@dataclass
class DnsServer:
    """The server; `zone` may change while it runs."""

    zone: Zone
    host: str = "127.0.0.1"
    port: int = 0
    queries: list[tuple[str, str]] = field(default_factory=list)
    over_tcp: int = 0

    def __post_init__(self) -> None:
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._dialogues: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._tcp = await asyncio.start_server(self._serve, self.host, self.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), (self.host, self.port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._udp
        assert self._tcp
        self._udp.close()
        self._tcp.close()
        for dialogue in self._dialogues:
            dialogue.cancel()
        await asyncio.gather(*self._dialogues, return_exceptions=True)
        await self._tcp.wait_closed()

    @property
    def address(self) -> str:
        """As for `--resolver`."""
        return f"{self.host}:{self.port}"

    def reply(self, query: bytes) -> dns.message.Message | None:
        """The answer to `query`, if there is to be one."""
        asked = dns.message.from_wire(query)
        question = asked.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        self.queries.append((question.name.to_text(omit_final_dot=True), kind))
        reply = dns.message.make_response(asked, recursion_available=True)
        entries = [(name, entry) for name in self._chain(question.name) for entry in self._entries(name)]
        for name, entry in entries:
            if isinstance(entry, Mapping):
                reply.answer.extend(_records(name, entry, kind))
        said = {entry for _, entry in entries if isinstance(entry, str)}
        if not entries:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif "SERVFAIL" in said:
            reply.set_rcode(dns.rcode.SERVFAIL)
        return None if "TIMEOUT" in said and not reply.answer else reply

    def _chain(self, name: dns.name.Name) -> Iterator[dns.name.Name]:
        """`name`, and those it is an alias of."""
        for _ in range(LONGEST_CHAIN):
            yield name
            alias = next(
                (e["CNAME"] for e in self._entries(name) if isinstance(e, Mapping) and "CNAME" in e), None
            )
            if alias is None:
                return
            name = dns.name.from_text(alias)

    def _entries(self, name: dns.name.Name) -> Sequence[Mapping[str, Any] | str]:
        return {dns.name.from_text(known): entries for known, entries in self.zone.items()}.get(name, ())

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._dialogues.add(asyncio.create_task(self._converse(reader, writer)))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # RFC 1035 section 4.2.2: each message is preceded by its length.
            while size := await reader.read(2):
                reply = self.reply(await reader.readexactly(int.from_bytes(size)))
                self.over_tcp += 1
                if reply:
                    wire = reply.to_wire()
                    writer.write(len(wire).to_bytes(2) + wire)
        finally:
            writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.reply(data)
        assert self._transport
        if reply:
            wire = reply.to_wire()
            self._transport.sendto(wire if len(wire) <= LARGEST_DATAGRAM else _truncated(reply), addr)


def _records(name: dns.name.Name, entry: Mapping[str, Any], kind: str) -> Iterator[dns.rrset.RRset]:
    for present in (kind, "CNAME"):
        if present in entry:
            record = dns.rdata.from_text("IN", present, _text(present, entry[present]))
            yield dns.rrset.from_rdata(name, SECONDS_TO_LIVE, record)


def _truncated(reply: dns.message.Message) -> bytes:
    """RFC 1035 section 4.2.1: what does not fit is asked for again over TCP."""
    reply.answer.clear()
    reply.flags |= dns.flags.TC
    return reply.to_wire()


def _text(kind: str, value: Any) -> str:
    """A record's value as in a zone file."""
    if kind == "TXT":
        strings = [value] if isinstance(value, str) else value
        return " ".join(_quoted(part) for string in strings for part in _parts(string)) or '""'
    if kind == "MX":
        preference, host = value
        return f"{preference} {_absolute(host)}"
    return _absolute(value) if kind in {"CNAME", "PTR"} else str(value)


def _parts(string: str) -> Iterator[str]:
    for start in range(0, max(len(string), 1), LARGEST_STRING):
        yield string[start : start + LARGEST_STRING]


def _quoted(string: str) -> str:
    return '"' + "".join(f"\\{octet:03d}" for octet in string.encode()) + '"'


def _absolute(name: str) -> str:
    return name if name.endswith(".") else f"{name}."
