"""What people write as a mail address: read, refused with a sentence, or compared."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.address import AddressError, Mailbox, normalised, one_line, parse_mailbox

ANY_CHARACTER = st.characters(exclude_categories=())
ANY_TEXT = st.text(ANY_CHARACTER)
LIKE_AN_ADDRESS = st.text(st.one_of(st.sampled_from('@<>".,;[]\\ aB:ßŷ1-_\n'), ANY_CHARACTER), max_size=40)
PLAIN_ADDRESS = st.from_regex(r"[a-z!#$%&'*+/=?^_`{|}~-]{1,20}@[a-z][a-z0-9]{0,20}\.example", fullmatch=True)
PROPERTY = settings(max_examples=300, deadline=None)


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        pytest.param("a@b.example", "", "a@b.example", id="bare"),
        pytest.param("  a@b.example\r\n", "", "a@b.example", id="blanks-around"),
        pytest.param("<a@b.example>", "", "a@b.example", id="brackets-without-a-name"),
        pytest.param("Emily Dawson <a@b.example>", "Emily Dawson", "a@b.example", id="name"),
        pytest.param("Emily Dawson<a@b.example>", "Emily Dawson", "a@b.example", id="name-without-a-blank"),
        pytest.param("Dawson, Emily <a@b.example>", "Dawson, Emily", "a@b.example", id="comma-in-a-name"),
        pytest.param("info@b.example <a@b.example>", "info@b.example", "a@b.example", id="address-as-a-name"),
        pytest.param('"Dawson, Emily" <a@b.example>', "Dawson, Emily", "a@b.example", id="quoted"),
        pytest.param(r'"The \"A\" \\ Team" <a@b.example>', r'The "A" \ Team', "a@b.example", id="quoted-pairs"),
        pytest.param('"a <b@c>, d" <a@b.example>', "a <b@c>, d", "a@b.example", id="quoted-mailbox"),
        pytest.param('Emily "Em" Dawson <a@b.example>', 'Emily "Em" Dawson', "a@b.example", id="nickname"),
        pytest.param('"" <a@b.example>', "", "a@b.example", id="empty-quotes"),
        pytest.param("Siân Llŷr <a@b.example>", "Siân Llŷr", "a@b.example", id="name-beyond-ascii"),
        pytest.param(
            "A\r\nBcc: x \t\u2028B <a@b.example>", "A Bcc: x B", "a@b.example", id="controls-in-a-name"
        ),
        pytest.param("a@LOCALHOST", "", "a@localhost", id="one-label"),
        pytest.param("a@server.local", "", "a@server.local", id="internal-domain"),
        pytest.param("a@my_host.example", "", "a@my_host.example", id="underscore"),
        pytest.param("A.B@Example.COM", "", "A.B@example.com", id="case-of-the-domain-only"),
        pytest.param("cymorth@Llŷn.example", "", "cymorth@xn--lln-k2a.example", id="idn"),
        pytest.param("a@faß.example", "", "a@xn--fa-hia.example", id="idn-2008-keeps-sharp-s"),
        pytest.param("a@b。example", "", "a@b.example", id="ideographic-full-stop"),
        pytest.param("a@XN--LLN-K2A.example", "", "a@xn--lln-k2a.example", id="punycode-already"),
        pytest.param("siân@b.example", "", "siân@b.example", id="local-part-beyond-ascii"),
        pytest.param("sia\u0302n@b.example", "", "siân@b.example", id="composed"),
        pytest.param("o'brien+tag/x=y@b.example", "", "o'brien+tag/x=y@b.example", id="signs"),
        pytest.param("a@[192.0.2.1]", "", "a@[192.0.2.1]", id="ipv4-literal"),
        pytest.param("a@[ipv6:2001:DB8:0::1]", "", "a@[IPv6:2001:db8::1]", id="ipv6-literal"),
        pytest.param("a" * 64 + "@b.example", "", "a" * 64 + "@b.example", id="longest-local-part"),
        pytest.param(f"a@{'b.' * 125}bb", "", f"a@{'b.' * 125}bb", id="longest-address"),
    ],
)
def test_a_mailbox_is_read_as_people_write_it(text: str, name: str, address: str) -> None:
    """Both forms, names quoted or not; the domain in lower-case punycode, the rest as written."""
    assert parse_mailbox(text) == Mailbox(name, address)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param(" \t ", "is empty", id="blank"),
        pytest.param("Emily <>", "is empty", id="empty-brackets"),
        pytest.param("emily.example", "has no @", id="no-at"),
        pytest.param("@b.example", "before the @", id="no-local-part"),
        pytest.param("=?utf-8?q?=0D=0A?=a@b.example", "before the @", id="encoded-word"),
        pytest.param("a@", "domain", id="no-domain"),
        pytest.param("a b@c.example", "holds a blank", id="blank-in-the-local-part"),
        pytest.param("a@b .example", "holds a blank", id="blank-in-the-domain"),
        pytest.param("a\r\nBcc:x@b.example", "line break", id="injected-header"),
        pytest.param("a@b.example, x\r\n<c@d.example>", "more than one", id="injected-recipient"),
        pytest.param("\u202aa@b.example\u202c", "invisible character", id="pasted-direction-marks"),
        pytest.param("a\u200b@b.example", "invisible character", id="zero-width-space"),
        pytest.param("a\u00a0b@c.example", "holds a blank", id="no-break-space"),
        pytest.param("a\ud800@b.example", "invisible character", id="lone-surrogate"),
        pytest.param("a\0@b.example", "invisible character", id="nul"),
        pytest.param("a@b.example,c@d.example", "before the @", id="list-of-addresses"),
        pytest.param("A <a@b.example>, C <c@d.example>", "more than one", id="list-of-mailboxes"),
        pytest.param("a@b.example, C <c@d.example>", "more than one", id="mixed-list"),
        pytest.param("a@b.example>", "a > without its <", id="stray-bracket"),
        pytest.param("<a@b.example", "before the @", id="unclosed-bracket"),
        pytest.param("a@b@c.example", "before the @", id="two-ats"),
        pytest.param(".a@b.example", "before the @", id="leading-dot"),
        pytest.param("a..b@c.example", "before the @", id="double-dot"),
        pytest.param('"john.doe"@b.example', "before the @", id="quoted-local-part"),
        pytest.param("mailto:a@b.example", "before the @", id="mailto"),
        pytest.param("a" * 65 + "@b.example", "64 octets", id="local-part-too-long"),
        pytest.param("ŷ" * 33 + "@b.example", "64 octets", id="local-part-too-long-in-octets"),
        pytest.param(f"a@{'b.' * 125}bbb", "254 octets", id="too-long"),
        pytest.param("ŷ" * 30 + f"@{'b.' * 98}example", "254 octets", id="too-long-in-octets"),
        pytest.param(f"a@{'ŷ.' * 40}example", "domain", id="too-long-in-punycode"),
        pytest.param("a@" + "b." * 100_000, "254 octets", id="far-too-long"),
        pytest.param("a@b..example", "domain", id="empty-label"),
        pytest.param("a@b.example.", "domain", id="final-dot"),
        pytest.param("a@bücher.example.", "domain", id="final-dot-of-an-idn"),
        pytest.param("a@-b.example", "domain", id="leading-hyphen"),
        pytest.param(f"a@{'b' * 64}.example", "domain", id="label-too-long"),
        pytest.param("a@☃.example", "domain", id="not-in-idna-2008"),
        pytest.param("a@b,example", "domain", id="comma-for-a-dot"),
        pytest.param("a@[192.0.2.256]", "IP address", id="no-ipv4-address"),
        pytest.param("a@[2001:db8::1]", "IP address", id="ipv6-without-its-tag"),
        pytest.param("a@[IPv6:fe80::1%eth0]", "IP address", id="ipv6-with-a-zone"),
        pytest.param("a@[192.0.2.1", "IP address", id="unclosed-literal"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text: str, says: str) -> None:
    """Each fault has its own sentence; what was written, a person's address, is only in the event."""
    with pytest.raises(AddressError) as refused:
        parse_mailbox(text)
    assert says in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "emily.dawson",
        "emily.dawson@",
        "emily dawson@b.example",
        "emily..dawson@b.example",
        "emily.dawson" * 10 + "@b.example",
        "x@emily.dawson.☃.example",
        "x@emily..dawson",
        "x@[IPv6:emily.dawson]",
        "emily.dawson@b.example, Emily <x@b.example>",
        "Emily <emily.dawson@b.example>, x <x@b.example>",
    ],
)
def test_a_refusal_does_not_repeat_the_address(text: str) -> None:
    """Neither the sentence nor an exception behind it, for both end in logs."""
    with pytest.raises(AddressError) as refused:
        parse_mailbox(text)
    assert "dawson" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


@PROPERTY
@given(st.one_of(ANY_TEXT, LIKE_AN_ADDRESS))
def test_any_text_is_an_address_fit_for_the_wire_or_an_address_error(text: str) -> None:
    """What comes out can stand in an envelope and is read again as itself."""
    try:
        mailbox = parse_mailbox(text)
    except AddressError:
        return
    assert mailbox.address.isprintable()
    assert not set(mailbox.address) & set(' <>,;"')
    assert len(mailbox.address.encode()) <= 254
    assert mailbox.domain.isascii()
    assert mailbox.domain == mailbox.domain.lower() or mailbox.domain.startswith("[IPv6:")
    assert parse_mailbox(mailbox.address) == Mailbox("", mailbox.address)


@PROPERTY
@given(ANY_TEXT, PLAIN_ADDRESS)
def test_a_quoted_name_is_read_back_whatever_it_holds(name: str, address: str) -> None:
    """A quoted display name may hold anything; only controls and runs of blanks are tidied."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_mailbox(f'"{quoted}" <{address}>') == Mailbox(one_line(name), address)


@PROPERTY
@given(ANY_TEXT)
def test_one_line_is_one_line(text: str) -> None:
    """No control character, no line break of any kind, no run of spaces, nothing that UTF-8 lacks."""
    line = one_line(text)
    assert line.splitlines() in ([], [line])
    assert not set(line) & set(string.whitespace) - {" "}
    assert "  " not in line
    assert line == line.strip(" ")
    line.encode()


@pytest.mark.parametrize(
    ("address", "needed"), [("a@b.example", False), ("a@llŷn.example", False), ("siân@b.example", True)]
)
def test_only_the_local_part_can_need_smtputf8(address: str, *, needed: bool) -> None:
    """A domain is ASCII once it is punycode, so a server without SMTPUTF8 can have it."""
    assert parse_mailbox(address).needs_smtputf8 is needed


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Emily@Example.com", "emily@example.COM", id="case"),
        pytest.param("Emily <e@b.example>", "e@b.example", id="name"),
        pytest.param("a@llŷn.example", "a@xn--lln-k2a.example", id="idn"),
        pytest.param("SIA\u0302N@b.example", "siân@b.example", id="composition"),
        pytest.param(" No Address ", "no address", id="no-address"),
    ],
)
def test_spellings_of_one_mailbox_are_the_same_when_normalised(one: str, other: str) -> None:
    """So that one person listed twice gets one mail."""
    assert normalised(one) == normalised(other)


def test_different_mailboxes_stay_different_when_normalised() -> None:
    """A tag or a dot is part of the mailbox: what a provider makes of it is not ours to guess."""
    assert len({normalised(text) for text in ("a.b@c.example", "ab@c.example", "a.b+x@c.example")}) == 3


@PROPERTY
@given(st.one_of(ANY_TEXT, LIKE_AN_ADDRESS))
def test_normalising_never_raises_and_is_done_once(text: str) -> None:
    """Any text has a normalised form, and that form is its own."""
    assert normalised(normalised(text)) == normalised(text)
