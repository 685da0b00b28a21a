"""How a DNS server is written."""

from ipaddress import ip_address

import pytest

from worker.sender.lookup import Server


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_an_address_with_or_without_a_port(text: str, address: str, port: int) -> None:
    """IPv6 needs brackets only with a port."""
    assert Server.parse(text) == Server(ip_address(address), port)


@pytest.mark.parametrize(
    "text",
    ["", "dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:x", "[::1]:-1", ":53"],
)
def test_all_else_is_refused(text: str) -> None:
    """A name would need a DNS server to be looked up."""
    with pytest.raises(ValueError, match=r"port|address"):
        Server.parse(text)
