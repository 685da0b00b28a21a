"""The resolver at a real DNS server, well and unwell."""

from ipaddress import ip_address
from typing import Final

import pytest

from tests.support.dns_server import DnsServer, Zone
from tests.support.ports import closed_port
from worker.sender.lookup import LookupFailedError, Resolver, Server

LONG: Final = "x" * 2000
ZONE: Final[Zone] = {
    "example.com": [{"TXT": ["v=spf1 ", "-all"]}, {"A": "192.0.2.1"}, {"AAAA": "2001:db8::1"}],
    "mail.example.com": [{"MX": [20, "b.example.com"]}, {"MX": [10, "a.example.com"]}, {"TXT": LONG}],
    "www.example.com": [{"CNAME": "example.com"}],
    "1.2.0.192.in-addr.arpa": [{"PTR": "host.example.com"}],
    "slow.example.com": ["TIMEOUT"],
    "ill.example.com": ["SERVFAIL"],
}


def _resolver(server: DnsServer) -> Resolver:
    return Resolver(Server.parse(server.address), seconds=1.0)


async def test_each_kind_of_record_is_read() -> None:
    """Strings of a TXT record are joined, the preferred MX comes first, aliases are followed."""
    async with DnsServer(ZONE) as server:
        names = _resolver(server)
        assert await names.texts("example.com") == ["v=spf1 -all"]
        assert await names.addresses("www.example.com", 4) == [ip_address("192.0.2.1")]
        assert await names.addresses("example.com", 6) == [ip_address("2001:db8::1")]
        assert await names.exchanges("mail.example.com") == ["a.example.com", "b.example.com"]
        assert await names.hosts(ip_address("192.0.2.1")) == ["host.example.com"]


@pytest.mark.parametrize("name", ["nowhere.example.com", "mail.example.com", "a..b", "x" * 64 + ".example.com"])
async def test_what_is_not_there_is_empty(name: str) -> None:
    """No such name, no such record, and what is no name at all."""
    async with DnsServer(ZONE) as server:
        assert await _resolver(server).addresses(name, 4) == []


async def test_an_answer_too_long_for_a_datagram_is_fetched_over_tcp() -> None:
    """Big providers' TXT records often are."""
    async with DnsServer(ZONE) as server:
        assert await _resolver(server).texts("mail.example.com") == [LONG]
        assert server.over_tcp == 1


@pytest.mark.parametrize("name", ["slow.example.com", "ill.example.com"])
async def test_no_answer_is_told_apart_from_an_empty_one(name: str) -> None:
    """A time-out or a failing server says nothing about the name."""
    async with DnsServer(ZONE) as server:
        with pytest.raises(LookupFailedError):
            await _resolver(server).texts(name)


async def test_a_server_that_is_not_there_is_no_answer_either() -> None:
    """As with a mistyped --resolver."""
    with pytest.raises(LookupFailedError):
        await Resolver(Server(ip_address("127.0.0.1"), closed_port()), seconds=1.0).texts("example.com")
