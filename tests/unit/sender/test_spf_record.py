"""SPF records as text; what they mean is held to the RFC's own test suite elsewhere."""

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.sender.spf_macros import expanded
from worker.sender.spf_record import Directive, RecordError, Result, is_spf, parse


def test_a_record_is_read_term_by_term() -> None:
    """Qualifiers, networks, prefix lengths, a redirection; what is unknown but well-formed is passed over."""
    record = parse("v=spf1 ip4:192.0.2.0/24 ~ip6:2001:db8::/32 ?a:mail.example.com/28//64 -all colour=blue")
    assert record.redirect == ""
    assert record.directives == (
        Directive("ip4:192.0.2.0/24", Result.PASS, "ip4", network=IPv4Network("192.0.2.0/24")),
        Directive("~ip6:2001:db8::/32", Result.SOFTFAIL, "ip6", network=IPv6Network("2001:db8::/32")),
        Directive(
            "?a:mail.example.com/28//64", Result.NEUTRAL, "a", domain="mail.example.com", prefixes=(28, 64)
        ),
        Directive("-all", Result.FAIL, "all"),
    )
    assert parse("v=spf1 redirect=_spf.example.com").redirect == "_spf.example.com"


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("ipv4:192.0.2.1", "“ipv4:192.0.2.1” is no mechanism"),
        ("ip4:192.0.2.256", "“ip4:192.0.2.256” names no network"),
        ("a/33", "“a/33” has a prefix longer than an address"),
        ("include", "“include” is no mechanism"),
        ("redirect=", "the modifier redirect has no valid value"),
        ("redirect=a.example redirect=b.example", "the modifier redirect stands there twice"),
    ],
)
def test_a_broken_record_says_what_is_broken(term: str, words: str) -> None:
    """Its owner has to find it."""
    with pytest.raises(RecordError, match="^" + words.replace("(", r"\(") + "$"):
        parse(f"v=spf1 {term} -all")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("v=spf1", True),
        ("V=SPF1 -all", True),
        ("v=spf10", False),
        ("v=spf1-all", False),
        ("spf1 -all", False),
        ("google-site-verification=x", False),
    ],
)
def test_other_texts_of_a_domain_are_no_spf_records(text: str, *, is_one: bool) -> None:
    """Section 4.5: the version ends with a space or the record."""
    assert is_spf(text) is is_one


@given(st.lists(st.from_regex(r"[-+?~]?[a-z0-9]{1,4}[:=/.%{}a-z0-9-]{0,12}", fullmatch=True), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_record_or_an_error(terms: list[str]) -> None:
    """Whatever a domain publishes; what a directive keeps of its text is all of it."""
    with suppress(RecordError):
        record = parse(" ".join(["v=spf1", *terms]))
        assert [directive.text for directive in record.directives] == [t for t in terms if "=" not in t]


VALUES = {"d": "email.example.com", "i": "192.0.2.3", "l": "strong-bad", "v": "in-addr"}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("%{d}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l-}", "strong.bad"),
        ("%{lr-}", "bad.strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%%%_%-", "% %20"),
        (
            f"%{{d}}.{'x' * 60}.{'y' * 60}.{'z' * 60}.{'w' * 60}.com",
            f"com.{'x' * 60}.{'y' * 60}.{'z' * 60}.{'w' * 60}.com",
        ),
    ],
)
def test_macros_are_replaced(spec: str, name: str) -> None:
    """Section 7.4's examples, and a name that loses labels on the left since it grew too long."""
    assert expanded(spec, VALUES) == name
