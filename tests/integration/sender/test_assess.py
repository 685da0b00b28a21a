"""Whether mail through a host is believed: one row for each situation, over real DNS."""

from typing import Any, Final

import pytest

from tests.support.dns_server import DnsServer, Zone
from worker.sender.assess import Remark, Standing, assess
from worker.sender.lookup import Resolver, Server

GOOD, BAD, UNCLEAR = Standing.GOOD, Standing.BAD, Standing.UNCLEAR
HOST: Final = "smtp.example.net"
ADDRESSES: Final = [{"A": "192.0.2.10"}, {"AAAA": "2001:db8::10"}]
REJECT: Final = [{"TXT": "v=DMARC1; p=reject; aspf=s"}]


def _zone(spf: str | None, **more: Any) -> Zone:
    records = [{"TXT": spf}] if spf else [{"A": "192.0.2.99"}]
    return {HOST: ADDRESSES, "example.com": records, **{name.replace("__", "."): more[name] for name in more}}


async def _remarks(zone: Zone, host: str = HOST, sender: str = "cms@example.com") -> tuple[Remark, Remark]:
    async with DnsServer(zone) as server:
        return await assess(Resolver(Server.parse(server.address), seconds=1.0), host, sender)


GUIDE: Final = "Receiving mail servers will see email claiming to be from your domain"
SPF: Final[dict[str, tuple[Zone, Standing, str]]] = {
    "by address": (
        _zone("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all"),
        GOOD,
        "example.com authorises smtp.example.net (192.0.2.10, 2001:db8::10) by ip4:192.0.2.0/24",
    ),
    "by name": (_zone("v=spf1 a:smtp.example.net -all"), GOOD, "by a:smtp.example.net"),
    "by inclusion": (
        _zone(
            "v=spf1 include:_spf.example.net -all",
            _spf__example__net=[{"TXT": "v=spf1 a:smtp.example.net -all"}],
        ),
        GOOD,
        "by include:_spf.example.net",
    ),
    "by the provider's name, who sends from elsewhere": (
        _zone(
            "v=spf1 include:_spf.example.net -all", _spf__example__net=[{"TXT": "v=spf1 ip4:198.51.100.1 -all"}]
        ),
        GOOD,
        "authorises smtp.example.net by _spf.example.net in its SPF record",
    ),
    "only one of two addresses": (
        _zone("v=spf1 ip4:192.0.2.10 -all"),
        BAD,
        "example.com does not authorise smtp.example.net (2001:db8::10): SPF fail, -all in the record of",
    ),
    "not at all": (
        _zone("v=spf1 ip4:198.51.100.1 ~all"),
        BAD,
        f"SPF softfail, ~all in the record of example.com. {GUIDE}",
    ),
    "no record": (_zone(None), BAD, f"example.com has no SPF record, so it does not authorise {HOST}"),
    "a broken record": (
        _zone("v=spf1 ip4:none -all"),
        BAD,
        "The SPF record of example.com cannot be evaluated: in the record of example.com, “ip4:none”",
    ),
    "too many lookups": (
        _zone("v=spf1 " + "a:a.example " * 11 + "-all", a__example=[{"A": "192.0.2.98"}]),
        BAD,
        "its evaluation takes more than 10 DNS lookups",
    ),
    "a DNS that fails": ({HOST: ADDRESSES, "example.com": ["SERVFAIL"]}, UNCLEAR, "could not be looked up"),
    "a host that is not there": ({"example.com": [{"TXT": "v=spf1 -all"}]}, UNCLEAR, "knows no address of"),
    "an internal host": (
        {HOST: [{"A": "10.1.2.3"}], "example.com": [{"TXT": "v=spf1 ip4:192.0.2.1 -all"}]},
        UNCLEAR,
        "has an internal address. Make sure that the SPF record of example.com authorises the public address",
    ),
}


@pytest.mark.parametrize(("zone", "standing", "words"), SPF.values(), ids=SPF)
async def test_the_from_domain_authorises_the_host_or_not(zone: Zone, standing: Standing, words: str) -> None:
    """As a receiving server would find, with what the record says."""
    spf, _ = await _remarks(zone)
    assert (spf.subject, spf.standing) == ("spf", standing), spf.text
    assert words in spf.text


PROVIDERS: Final = [
    ("smtp.office365.com", "spf.protection.outlook.com"),
    ("smtp.gmail.com", "_spf.google.com"),
    ("email-smtp.eu-west-1.amazonaws.com", "amazonses.com"),
    ("smtp.mailgun.org", "mailgun.org"),
    ("smtp-relay.brevo.com", "spf.brevo.com"),
    ("smtp.postmarkapp.com", "spf.mtasv.net"),
]


@pytest.mark.parametrize(("host", "included"), PROVIDERS)
async def test_a_provider_is_known_by_the_name_that_its_customers_include(host: str, included: str) -> None:
    """smtp.office365.com itself is in nobody's SPF record: Exchange Online sends from other servers."""
    zone: Zone = {
        host: [{"A": "203.0.113.1"}],
        "example.com": [{"TXT": f"v=spf1 include:{included} -all"}],
        included: [{"TXT": "v=spf1 ip4:198.51.100.0/24 -all"}],
    }
    spf, _ = await _remarks(zone, host)
    assert (spf.standing, spf.text) == (GOOD, f"example.com authorises {host} by {included} in its SPF record.")


async def test_a_domain_does_not_authorise_a_host_by_bearing_its_name() -> None:
    """What counts is the record, not that smtp.example.com lies within example.com."""
    zone: Zone = {"smtp.example.com": ADDRESSES, "example.com": [{"TXT": "v=spf1 ip4:198.51.100.1 -all"}]}
    spf, _ = await _remarks(zone, "smtp.example.com")
    assert spf.standing is BAD


THROUGH_ZENGENTI: Final = (
    "The From address is on your own domain while you are still sending through Zengenti's"
)


@pytest.mark.parametrize("zone", [{}, _zone("v=spf1 ip4:192.0.2.0/24 -all")], ids=["no DNS", "DNS"])
async def test_another_domain_through_zengentis_server_is_told_in_the_guides_words(zone: Zone) -> None:
    """The guide's first section; it holds even where nothing can be looked up."""
    zone = {**zone, "smtp.zengenti.com": [{"A": "203.0.113.1"}]} if zone else zone
    spf, _ = await _remarks(zone, "smtp.zengenti.com")
    assert spf.standing is BAD
    assert spf.text.startswith(THROUGH_ZENGENTI) or THROUGH_ZENGENTI in spf.text
    assert GUIDE in spf.text
    assert "use your own SMTP server by changing EmailSMTPHost" in spf.text


async def test_a_domain_that_did_authorise_zengentis_server_is_believed() -> None:
    """Then there is nothing to mend."""
    zone: Zone = {
        "smtp.zengenti.com": [{"A": "203.0.113.1"}],
        "example.com": [{"TXT": "v=spf1 a:smtp.zengenti.com -all"}],
    }
    spf, _ = await _remarks(zone, "smtp.zengenti.com")
    assert spf.standing is GOOD


async def test_the_default_combination_works_out_of_the_box() -> None:
    """The guide: contensis.com authorises Zengenti's mail servers; said even without DNS."""
    spf, _ = await _remarks({}, "smtp.zengenti.com", "no-reply@contensis.com")
    assert spf.standing is GOOD


async def test_the_default_from_address_through_another_server_is_told() -> None:
    """Whoever changes EmailSMTPHost has to change the From address too."""
    spf, _ = await _remarks({}, "mailrelay.internal", "no-reply@contensis.com")
    assert spf.standing is BAD
    assert "set NOTIFY_DEFAULT_FROM to an address on a domain that authorises your server" in spf.text


ALIGNED: Final = "v=spf1 ip4:192.0.2.10 ip6:2001:db8::10 -all"
DMARC: Final[dict[str, tuple[Zone, str, Standing, str]]] = {
    "aligned": (
        _zone(ALIGNED, _dmarc__example__com=REJECT),
        "cms@example.com",
        GOOD,
        "is reject, with strict SPF alignment: mail through smtp.example.net aligns, since its envelope sender",
    ),
    "rejected": (
        _zone("v=spf1 -all", _dmarc__example__com=REJECT),
        "cms@example.com",
        BAD,
        "receivers reject mail that passes neither SPF nor has a DKIM signature of example.com.",
    ),
    "quarantined": (
        _zone("v=spf1 -all", _dmarc__example__com=[{"TXT": "v=DMARC1;p=quarantine"}]),
        "cms@example.com",
        BAD,
        "is quarantine, with relaxed SPF alignment: receivers quarantine mail",
    ),
    "only reported": (
        _zone("v=spf1 -all", _dmarc__example__com=[{"TXT": "v=DMARC1; p=none; rua=mailto:d@example.com"}]),
        "cms@example.com",
        GOOD,
        "receivers are only asked to report mail",
    ),
    "a policy that is none": (
        _zone("v=spf1 -all", _dmarc__example__com=[{"TXT": "v=DMARC1; p=whatever"}]),
        "cms@example.com",
        GOOD,
        "is none",
    ),
    "of the domain above": (
        _zone(None, _dmarc__example__com=REJECT, cms__eu__example__com=[{"TXT": ALIGNED}]),
        "news@cms.eu.example.com",
        GOOD,
        "The DMARC policy of example.com is reject",
    ),
    "for subdomains": (
        _zone(None, _dmarc__example__com=[{"TXT": "v=DMARC1; p=reject; sp=none"}]),
        "news@cms.example.com",
        GOOD,
        "The DMARC policy of example.com is none",
    ),
    "no policy": (_zone(ALIGNED), "cms@example.com", GOOD, "example.com publishes no DMARC policy."),
    "something else there": (
        _zone(ALIGNED, _dmarc__example__com=[{"TXT": "v=DMARC2; p=reject"}]),
        "cms@example.com",
        GOOD,
        "example.com publishes no DMARC policy.",
    ),
    "not to be had": (
        _zone(ALIGNED, _dmarc__example__com=["SERVFAIL"]),
        "cms@example.com",
        UNCLEAR,
        "The DMARC policy of example.com could not be looked up: the DNS gave no answer.",
    ),
}


@pytest.mark.parametrize(("zone", "sender", "standing", "words"), DMARC.values(), ids=DMARC)
async def test_the_from_domains_policy_says_what_becomes_of_the_mail(
    zone: Zone, sender: str, standing: Standing, words: str
) -> None:
    """RFC 7489: its own policy, or that of a domain above it."""
    _, dmarc = await _remarks(zone, sender=sender)
    assert (dmarc.subject, dmarc.standing) == ("dmarc", standing), dmarc.text
    assert words in dmarc.text
