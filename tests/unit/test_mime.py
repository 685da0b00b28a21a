"""The composed message, held to the standard library's parser: what it reads back is what went in."""

import re
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.errors import NonASCIILocalPartDefect
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.parser import BytesParser, Parser
from email.policy import SMTPUTF8, compat32, default
from email.utils import parseaddr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fields import FIELDS
from worker.address import Mailbox
from worker.mime import File, Letter, compose, dot_stuff, needs_smtputf8

PROPERTY = settings(max_examples=100, deadline=None)

LETTER = Letter(
    sender=Mailbox("Contensis", "no-reply@contensis.com"),
    to=Mailbox("Emily Dawson", "emily@broddu.example"),
    reply_to=None,
    subject="Approval needed: Autumn news",
    text="Hello Emily,\n\nplease look.\n",
    html="<p>Hello Emily,</p>\n<p>please look.</p>\n",
    date=datetime(2026, 3, 2, 9, 5, tzinfo=UTC),
    message_id="0123456789abcdef@contensis.com",
    language="en-GB",
    auto_submitted="auto-generated",
    event_id="b6d3a2b0-5c0e-4c55-9f6a-7f1f0a3f5c11",
)
SIAN = Mailbox("Siân", "siân@b.example")
LOGO = File("logo.png", "image/png", b"\x89PNG", content_id="logo@contensis.com")
REPORT = File("report.pdf", "application/pdf", b"%PDF")

HOSTILE = (
    *"\r\n\t\0\x0b\x0c\x1b\x1c\x7f\x85\u2028\u2029\ud800\udfff",  # line breaks to somebody; no UTF-8
    *" .,;:<>@\"'\\%*=?_-()[]/",  # syntax to somebody
    *"\u00a0\u3000\u200b\u202e\ufeff\u0301\uffff",  # blanks and marks beyond ASCII
    *"aZ09ŷâ—”中🏴",
    "\r\n",
    "\r\nBcc: x@evil.example\r\n\r\n",
    "\r\n.\r\nMAIL FROM:<x@evil.example>\r\n",
    "=?utf-8?q?x?=",
    "=?utf-8?b?eA==?=",
    "\n--=_alternative-",
    "%0d%0a",
    "utf-8''",
    "word " * 20,
    "ŷ" * 70,
    "x" * 80,
    "x \n\t\n",
)
ANY_CHARACTER = st.characters(exclude_categories=())
ANY_TEXT = st.one_of(
    st.lists(st.sampled_from(HOSTILE) | ANY_CHARACTER, max_size=8).map("".join),
    st.text(ANY_CHARACTER, max_size=80),
)
ANY_BODY = st.one_of(
    ANY_TEXT,
    st.builds(
        "{}{}{}".format, ANY_TEXT, st.sampled_from(("x" * 998, "x" * 999, "=" * 999, "中" * 400)), ANY_TEXT
    ),
)
ATOM = st.text("abcXYZ019!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=20)
ANY_ADDRESS = st.one_of(
    st.builds("{}.{}@{}".format, ATOM, ATOM, st.sampled_from(("b.example", "localhost", "[IPv6:2001:db8::1]"))),
    st.builds("{}@b.example".format, st.text("aŷâ中🏴", min_size=1, max_size=15)),
)
WELL_FORMED_ID = st.builds("{}@{}".format, ATOM, ATOM)
ANY_MAILBOX = st.builds(Mailbox, ANY_TEXT, ANY_ADDRESS)
ANY_DATE = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - the strategy adds the zone; RFC 5322 §3.3 knows no earlier year
    timezones=st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
ANY_FILE = st.builds(
    File,
    name=ANY_TEXT,
    content_type=st.sampled_from(("application/pdf", "text/csv", "image/svg+xml")) | ANY_TEXT,
    content=st.binary(max_size=300),
    inline=st.booleans(),
    content_id=st.none() | ANY_TEXT,
)
ANY_LETTER = st.builds(
    Letter,
    sender=ANY_MAILBOX,
    to=ANY_MAILBOX,
    reply_to=st.none() | ANY_MAILBOX,
    subject=ANY_TEXT,
    text=ANY_BODY,
    html=ANY_BODY,
    date=ANY_DATE,
    message_id=ANY_TEXT,
    language=ANY_TEXT,
    auto_submitted=st.sampled_from(("auto-generated", "auto-replied")),
    event_id=ANY_TEXT,
    thread=st.none() | ANY_TEXT,
    files=st.lists(ANY_FILE, max_size=3).map(tuple),
)


def in_a_header(text: str) -> str:
    """The rule for text in headers: runs of blanks and controls are one space, lone surrogates U+FFFD."""
    replaced = {"Cc": " ", "Zl": " ", "Zp": " ", "Cs": "\ufffd"}
    spaced = "".join(replaced.get(unicodedata.category(character), character) for character in text)
    return " ".join(word for word in spaced.split(" ") if word)


def in_a_body(text: str) -> str:
    """The rule for bodies: lines end with CRLF, lone surrogates and controls but tabs are U+FFFD."""
    return "\r\n".join(
        re.sub("[\x00-\x08\x0b-\x1f\ud800-\udfff]", "\ufffd", line) for line in re.split("\r\n|\r|\n", text)
    )


def read(letter: Letter) -> EmailMessage:
    """What the standard library makes of the composed letter; its BytesParser knows no UTF-8 in headers."""
    message = compose(letter)
    if needs_smtputf8(letter):
        return Parser(EmailMessage, policy=SMTPUTF8).parsestr(message.decode())
    return BytesParser(EmailMessage, policy=default).parsebytes(message)


def field(letter: Letter, name: str) -> str:
    """The raw value of a header field, unfolded as RFC 5322 §2.2.3 says; empty where there is none."""
    value = Parser(policy=compat32).parsestr(compose(letter).decode())[name]
    return "" if value is None else str(value).replace("\r\n", "")


def decoded(value: str) -> str:
    """The text of a field's value, by the older of the standard library's two decoders of RFC 2047."""
    return str(make_header(decode_header(value)))


def without_blanks(text: str) -> str:
    """Only what is no white space in Unicode."""
    return "".join(text.split())


def leaves(message: EmailMessage) -> list[EmailMessage]:
    """The parts that are no multipart, in order."""
    return [part for part in message.walk() if not part.is_multipart()]


def structure(part: MIMEPart) -> object:
    """A message's tree: leaves are content types, branches `(subtype, [parts])`."""
    if not part.is_multipart():
        return part.get_content_type()
    return part.get_content_subtype(), [structure(inner) for inner in part.iter_parts()]


def test_an_ordinary_letter_byte_for_byte() -> None:
    """Plain words are sent as they are, in the documented order of fields, multipart only as deep as needed."""
    assert compose(replace(LETTER, reply_to=Mailbox("", "a@b.example"), thread="entry-1-en@contensis.com")) == (
        b"Date: Mon, 02 Mar 2026 09:05:00 +0000\r\n"
        b'From: "Contensis" <no-reply@contensis.com>\r\n'
        b'To: "Emily Dawson" <emily@broddu.example>\r\n'
        b"Reply-To: a@b.example\r\n"
        b"Subject: Approval needed: Autumn news\r\n"
        b"Message-ID: <0123456789abcdef@contensis.com>\r\n"
        b"In-Reply-To: <entry-1-en@contensis.com>\r\n"
        b"References: <entry-1-en@contensis.com>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Language: en-GB\r\n"
        b"Auto-Submitted: auto-generated\r\n"
        b"X-Auto-Response-Suppress: All\r\n"
        b"X-Contensis-Event-Id: b6d3a2b0-5c0e-4c55-9f6a-7f1f0a3f5c11\r\n"
        b"Content-Type: multipart/alternative;\r\n"
        b' boundary="=_alternative-c73b7ac1b54b5ad8"\r\n'
        b"\r\n"
        b"--=_alternative-c73b7ac1b54b5ad8\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello Emily,\r\n"
        b"\r\n"
        b"please look.\r\n"
        b"\r\n"
        b"--=_alternative-c73b7ac1b54b5ad8\r\n"
        b"Content-Type: text/html; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"<p>Hello Emily,</p>\r\n"
        b"<p>please look.</p>\r\n"
        b"\r\n"
        b"--=_alternative-c73b7ac1b54b5ad8--\r\n"
    )


@PROPERTY
@given(ANY_LETTER)
def test_any_letter_is_fit_for_the_wire(letter: Letter) -> None:
    """RFC 5321 §2.3.8 and 5322 §2.1.1: CRLF only, no NUL, no line over 998; ASCII unless an address is not."""
    message = compose(letter)
    assert max(map(len, message.split(b"\r\n"))) <= 998
    assert message.count(b"\r") == message.count(b"\n") == message.count(b"\r\n")
    assert b"\0" not in message
    assert message.endswith(b"\r\n")
    assert message.isascii() or needs_smtputf8(letter)


@PROPERTY
@given(ANY_LETTER)
def test_a_letter_gives_the_same_bytes_whenever_it_is_composed(letter: Letter) -> None:
    """A resend is the same message, to the byte."""
    assert compose(replace(letter)) == compose(letter)


@PROPERTY
@given(ANY_LETTER)
def test_no_text_adds_a_field_or_takes_one_away(letter: Letter) -> None:
    """The documented fields, once each and in their order; only those that have nothing to say are left out."""
    silent = {
        "Reply-To": letter.reply_to is None,
        "Subject": not in_a_header(letter.subject),
        "In-Reply-To": not letter.thread,
        "References": not letter.thread,
        "Content-Language": not in_a_header(letter.language),
        "X-Contensis-Event-Id": not in_a_header(letter.event_id),
    }
    assert read(letter).keys() == [name for name in FIELDS if not silent.get(name, False)]


@PROPERTY
@given(ANY_LETTER)
def test_text_in_headers_is_read_back(letter: Letter) -> None:
    """Subject, language and event id, by both decoders of the standard library."""
    message = read(letter)
    texts = {
        "Subject": letter.subject,
        "Content-Language": letter.language,
        "X-Contensis-Event-Id": letter.event_id,
    }
    for name, text in texts.items():
        assert decoded(field(letter, name)) == in_a_header(text)
        assert message.get(name, "") == in_a_header(text)


@PROPERTY
@given(ANY_LETTER)
def test_mailboxes_are_read_back(letter: Letter) -> None:
    """One mailbox a field, the address as it is, the name whatever it holds."""
    message = read(letter)
    for name, mailbox in (("From", letter.sender), ("To", letter.to), ("Reply-To", letter.reply_to)):
        if mailbox is None:
            continue
        phrase, address = parseaddr(field(letter, name))
        # From Python 3.13 on, and in late 3.11 and 3.12, it takes address literals for a fault.
        if mailbox.address.endswith("]") and not address:
            continue
        assert (decoded(phrase), address) == (in_a_header(mailbox.name), mailbox.address)
        (parsed,) = message[name].addresses
        assert parsed.addr_spec == mailbox.address
        # Of names this decoder tells only the letters: it shows the space between two encoded words, which
        # RFC 2047 §6.2 would have ignored, and takes blanks beyond ASCII inside of one for such a space.
        assert without_blanks(parsed.display_name) == without_blanks(in_a_header(mailbox.name))
        assert all(isinstance(defect, NonASCIILocalPartDefect) for defect in message[name].defects)


@PROPERTY
@given(ANY_LETTER, WELL_FORMED_ID, WELL_FORMED_ID)
def test_dates_and_ids_are_read_back(letter: Letter, message_id: str, thread: str) -> None:
    """The date to the second, in its own offset from UTC; ids between angle brackets."""
    message = read(replace(letter, message_id=message_id, thread=thread))
    assert message["Date"].datetime == letter.date.replace(microsecond=0)
    assert message["Date"].datetime.utcoffset() == letter.date.utcoffset()
    assert message["Message-ID"] == f"<{message_id}>"
    assert message["In-Reply-To"] == message["References"] == f"<{thread}>"


@PROPERTY
@given(ANY_LETTER)
def test_an_id_is_never_more_than_one_word(letter: Letter) -> None:
    """Whatever an event's names put into it."""
    names = ["Message-ID", *(["In-Reply-To", "References"] if letter.thread else [])]
    assert all(re.fullmatch("<[!-;=?-~]+>", field(letter, name)) for name in names)


@PROPERTY
@given(ANY_LETTER)
def test_bodies_and_files_are_read_back(letter: Letter) -> None:
    """Every part, in order: text, HTML, files the HTML shows, other files; to the byte."""
    message = read(letter)
    text, html, *files = leaves(message)
    assert (text.get_content_type(), text.get_content()) == ("text/plain", in_a_body(letter.text))
    assert (html.get_content_type(), html.get_content()) == ("text/html", in_a_body(letter.html))
    sent = sorted(letter.files, key=lambda file: not file.content_id)
    assert [part.get_payload(decode=True) for part in files] == [file.content for file in sent]
    assert [part["Content-Disposition"].params.get("filename", "") for part in files] == [
        in_a_header(file.name) for file in sent
    ]
    assert [part.get_content_disposition() for part in files] == [
        "inline" if file.inline or file.content_id else "attachment" for file in sent
    ]
    assert [part["Content-ID"] is not None for part in files] == [bool(file.content_id) for file in sent]
    assert [defect for part in message.walk() for defect in part.defects] == []


@PROPERTY
@given(ANY_TEXT)
def test_encoded_words_are_short_and_each_is_whole(text: str) -> None:
    """RFC 2047 §2 and §5: words of at most 75 characters on lines of 76, none ending inside a character."""
    head, _, _ = compose(replace(LETTER, subject=text, to=Mailbox(text, "a@b.example"))).partition(b"\r\n\r\n")
    for line in head.decode("ascii").split("\r\n"):
        words = re.findall(r"=\?utf-8\?[qb]\?[^? ]+\?=", line)
        assert not words or len(line) <= 76
        for word in words:
            assert len(word) <= 75
            ((content, charset),) = decode_header(word)
            assert isinstance(content, bytes)
            content.decode(charset or "")


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        pytest.param("Hello", "Subject: Hello", id="plain"),
        pytest.param(" a  b\r\nBcc: c ", "Subject: a b Bcc: c", id="one-line"),
        pytest.param(
            "word " * 20,
            "Subject: word word word word word word word word word word word word word\r\n"
            " word word word word word word word",
            id="folded",
        ),
        pytest.param("tŷ agored", "Subject: =?utf-8?q?t=C5=B7_agored?=", id="q-is-shorter"),
        pytest.param("ŷâ", "Subject: =?utf-8?b?xbfDog==?=", id="b-is-shorter"),
        pytest.param("=?utf-8?q?x?=", "Subject: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?=", id="looks-encoded"),
        pytest.param("x" * 67, "Subject: " + "x" * 67, id="longest-plain-word"),
        pytest.param(
            "x" * 68,
            f"Subject: =?utf-8?q?{'x' * 55}?=\r\n =?utf-8?q?{'x' * 13}?=",
            id="word-too-long-for-its-line",
        ),
        pytest.param(
            "🏴" * 12,
            f"Subject: =?utf-8?b?{'8J+PtPCfj7Twn4+0' * 3}?=\r\n =?utf-8?b?8J+PtPCfj7Twn4+0?=",
            id="characters-stay-whole",
        ),
    ],
)
def test_a_subject_is_plain_where_it_can_be_and_encoded_where_it_must(subject: str, line: str) -> None:
    """RFC 5322 §2.2.3 and RFC 2047: as it is where ASCII and short, else the shorter of Q and B."""
    assert f"\r\n{line}\r\nMessage-ID:" in compose(replace(LETTER, subject=subject)).decode()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        pytest.param("", "To: a@b.example", id="none"),
        pytest.param("Dawson, E. <x@y>", 'To: "Dawson, E. <x@y>" <a@b.example>', id="quoted"),
        pytest.param('E "Em" D', "To: =?utf-8?q?E_=22Em=22_D?= <a@b.example>", id="holds-quotes"),
        pytest.param("Dawson\\E", "To: =?utf-8?q?Dawson=5CE?= <a@b.example>", id="holds-a-backslash"),
        pytest.param("=?utf-8?q?x?=", "To: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?= <a@b.example>", id="looks-encoded"),
        pytest.param("Siân", "To: =?utf-8?b?U2nDom4=?= <a@b.example>", id="beyond-ascii"),
        pytest.param(
            "Ann Llŷr (Broddu council)",
            "To: =?utf-8?q?Ann_Ll=C5=B7r_=28Broddu_council=29?= <a@b.example>",
            id="brackets",
        ),
        pytest.param("x" * 60, f'To: "{"x" * 60}"\r\n <a@b.example>', id="folded-before-the-address"),
        pytest.param(
            "x" * 71,
            f"To: =?utf-8?q?{'x' * 60}?=\r\n =?utf-8?q?{'x' * 11}?= <a@b.example>",
            id="too-long-to-quote",
        ),
    ],
)
def test_a_display_name_is_quoted_where_it_can_be_and_encoded_where_it_must(name: str, line: str) -> None:
    """RFC 5322 §3.4: names are never bare, for some servers misread an @ or < in them."""
    assert f"\r\n{line}\r\nSubject:" in compose(replace(LETTER, to=Mailbox(name, "a@b.example"))).decode()


@pytest.mark.parametrize(
    ("message_id", "line"),
    [
        pytest.param("a.b-1@[192.0.2.1]", "<a.b-1@[192.0.2.1]>", id="as-it-is"),
        pytest.param("<a@b.example>", "<a@b.example>", id="brackets-already"),
        pytest.param("a b>\r\nBcc: ŷ", "<a%20b%3E%0D%0ABcc:%20%C5%B7>", id="unsafe"),
        pytest.param("", "<e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855>", id="empty"),
        pytest.param("x" * 900, f"<{'x' * 900}>", id="longest"),
        pytest.param(
            "x" * 901, "<3185479833e2b402550855bd120d9233ccf1404de806ca71d2f5a17028aed041>", id="over-long"
        ),
    ],
)
def test_an_id_is_one_word_in_angle_brackets(message_id: str, line: str) -> None:
    """RFC 5322 §3.6.4, whatever an event's names put into it."""
    assert f"\r\nMessage-ID: {line}\r\n" in compose(replace(LETTER, message_id=message_id)).decode()


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        pytest.param("", "7bit", id="empty"),
        pytest.param("x" * 998, "7bit", id="longest-line"),
        pytest.param("x" * 999, "quoted-printable", id="line-too-long"),
        pytest.param("Siân, mae'r drysau ar agor", "quoted-printable", id="some-beyond-ascii"),
        pytest.param("Siân Llŷr", "base64", id="many-beyond-ascii"),
        pytest.param("中文" * 10, "base64", id="most-beyond-ascii"),
        pytest.param("a\x00b, and more text", "quoted-printable", id="replaced-control"),
        pytest.param("a\n--=_alternative-c73b7ac1b54b5ad8--\nb", "quoted-printable", id="boundary-inside"),
    ],
)
def test_a_body_is_sent_as_it_is_or_in_the_shorter_encoding(text: str, encoding: str) -> None:
    """RFC 2045 §6; a line that could end the part is encoded, so that it cannot."""
    part = leaves(read(replace(LETTER, text=text)))[0]
    assert part["Content-Transfer-Encoding"] == encoding
    assert part.get_content() == in_a_body(text)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        pytest.param("a\nb\rc\r\nd\n\re", "a\r\nb\r\nc\r\nd\r\n\r\ne", id="line-ends"),
        pytest.param(" a\tb \n", " a\tb \r\n", id="blanks-stay"),
        pytest.param("a\0b\x0bc\x1bd", "a\ufffdb\ufffdc\ufffdd", id="controls"),
        pytest.param("a\ud83d", "a\ufffd", id="lone-surrogate"),
        pytest.param("a\u2028b\x85c", "a\u2028b\x85c", id="line-ends-of-unicode-are-text"),
    ],
)
def test_a_body_is_cleaned_of_what_no_mail_may_hold(text: str, body: str) -> None:
    """RFC 2045 §2.7 and §2.8: lines end with CRLF; what cannot be sent is shown to have been there."""
    text_part, html_part = leaves(read(replace(LETTER, text=text, html=text)))
    assert text_part.get_content() == html_part.get_content() == body


def test_quoted_printable_keeps_lines_readable() -> None:
    """RFC 2045 §6.7: line breaks stay, long lines are broken softly, blanks at their ends are encoded."""
    message = compose(replace(LETTER, text="Siân,\nplease look at this. \n" + "x" * 100 + "\n.\n"))
    assert (
        "\r\n\r\nSi=C3=A2n,\r\nplease look at this.=20\r\n"
        + "x" * 75
        + "=\r\n"
        + "x" * 25
        + "\r\n=2E\r\n\r\n--=_"
    ).encode() in message


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param((), ("alternative", ["text/plain", "text/html"]), id="no-file"),
        pytest.param(
            (LOGO,),
            ("related", [("alternative", ["text/plain", "text/html"]), "image/png"]),
            id="shown-file",
        ),
        pytest.param(
            (REPORT,),
            ("mixed", [("alternative", ["text/plain", "text/html"]), "application/pdf"]),
            id="attachment",
        ),
        pytest.param(
            (REPORT, LOGO),
            (
                "mixed",
                [("related", [("alternative", ["text/plain", "text/html"]), "image/png"]), "application/pdf"],
            ),
            id="both",
        ),
    ],
)
def test_multipart_is_only_as_deep_as_the_files_need(files: tuple[File, ...], expected: object) -> None:
    """RFC 2046 §5.1 and RFC 2387: alternative, in related for shown files, in mixed for others."""
    assert structure(read(replace(LETTER, files=files))) == expected


def test_a_shown_file_says_what_the_html_calls_it() -> None:
    """RFC 2392: `cid:logo@contensis.com` in the HTML is the part with that Content-ID."""
    message = read(replace(LETTER, files=(LOGO,)))
    assert leaves(message)[2]["Content-ID"] == "<logo@contensis.com>"
    assert message["Content-Type"].params["type"] == "multipart/alternative"


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        pytest.param("application/pdf", "application/pdf", id="as-it-is"),
        pytest.param(" Image/PNG ; name=x.png", "image/png", id="other-parameters-go"),
        pytest.param(
            "text/csv; header=present; charset=windows-1252", "text/csv; charset=windows-1252", id="charset"
        ),
        pytest.param('text/csv;charset="utf-8"', "text/csv; charset=utf-8", id="quoted-charset"),
        pytest.param("text/csv; charset=a b", "text/csv", id="broken-charset"),
        pytest.param("", "application/octet-stream", id="empty"),
        pytest.param("pdf", "application/octet-stream", id="no-subtype"),
        pytest.param("text/html\r\nBcc: x@evil.example", "application/octet-stream", id="injection"),
        pytest.param("a/" + "x" * 128, "application/octet-stream", id="over-long"),
        pytest.param("tèxt/plain", "application/octet-stream", id="beyond-ascii"),
        pytest.param("message/rfc822", "application/octet-stream", id="message-must-not-be-base64"),
        pytest.param("multipart/mixed", "application/octet-stream", id="multipart-must-not-be-base64"),
    ],
)
def test_a_file_has_a_valid_media_type(written: str, sent: str) -> None:
    """RFC 2045 §5.1 and §6.4; a type that is none, or that base64 is not allowed for, is just octets."""
    message = compose(replace(LETTER, files=(replace(REPORT, content_type=written),)))
    assert f"\r\nContent-Type: {sent}\r\nContent-Transfer-Encoding: base64\r\n" in message.decode()


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        pytest.param("", "", id="none"),
        pytest.param("report 1.pdf", ';\r\n filename="report 1.pdf"', id="quoted"),
        pytest.param('a"b\\c.pdf', ";\r\n filename*=utf-8''a%22b%5Cc.pdf", id="holds-quotes"),
        pytest.param("a\\b.pdf", ";\r\n filename*=utf-8''a%5Cb.pdf", id="holds-a-backslash"),
        pytest.param("=?x?=", ";\r\n filename*=utf-8''%3D%3Fx%3F%3D", id="looks-encoded"),
        pytest.param("tŷ.pdf", ";\r\n filename*=utf-8''t%C5%B7.pdf", id="beyond-ascii"),
        pytest.param("a\r\nb.pdf", ';\r\n filename="a b.pdf"', id="one-line"),
        pytest.param(
            "ŷ" * 20 + ".pdf",
            f";\r\n filename*0*=utf-8''{'%C5%B7' * 8};\r\n filename*1*={'%C5%B7' * 8}"
            f";\r\n filename*2*={'%C5%B7' * 4}.pdf",
            id="in-sections",
        ),
    ],
)
def test_a_file_name_is_quoted_where_it_can_be_and_encoded_where_it_must(name: str, parameter: str) -> None:
    """RFC 2231 §3 and §4: no section ends inside a character."""
    message = compose(replace(LETTER, files=(replace(REPORT, name=name),)))
    assert f"\r\nContent-Disposition: attachment{parameter}\r\n\r\n" in message.decode()


def test_a_letter_without_a_sender_is_a_bug_of_its_caller() -> None:
    """No From is decided before composing; here it is an error that says so."""
    with pytest.raises(ValueError, match="needs a sender"):
        compose(replace(LETTER, sender=None))


@pytest.mark.parametrize(
    "letter",
    [
        pytest.param(replace(LETTER, sender=SIAN), id="sender"),
        pytest.param(replace(LETTER, to=SIAN), id="to"),
        pytest.param(replace(LETTER, reply_to=SIAN), id="reply-to"),
    ],
)
def test_an_address_beyond_ascii_needs_smtputf8_and_is_raw_utf8(letter: Letter) -> None:
    """RFC 6532 §3.2: an encoded word may not hold an address; the name is encoded all the same."""
    assert needs_smtputf8(letter)
    assert ": =?utf-8?b?U2nDom4=?= <siân@b.example>\r\n".encode() in compose(letter)


def test_other_letters_do_not_need_smtputf8() -> None:
    """Names, subjects, bodies and files beyond ASCII go to any server."""
    file = File("tŷ.pdf", "application/pdf", "ŷ".encode())
    letter = replace(
        LETTER, to=Mailbox("Siân", "a@xn--lln-k2a.example"), subject="tŷ", text="tŷ", files=(file,)
    )
    assert not needs_smtputf8(letter)
    assert compose(letter).isascii()


@pytest.mark.parametrize(
    ("message", "stuffed"),
    [
        pytest.param(b"a\r\n", b"a\r\n", id="no-dot"),
        pytest.param(b".\r\n", b"..\r\n", id="first-line"),
        pytest.param(b"a\r\n.\r\n.b\r\n", b"a\r\n..\r\n..b\r\n", id="other-lines"),
        pytest.param(b"a\r\n..\r\n", b"a\r\n...\r\n", id="two-dots"),
        pytest.param(b"a.\r\n b.c\r\n", b"a.\r\n b.c\r\n", id="dots-elsewhere"),
        pytest.param(b"", b"", id="empty"),
    ],
)
def test_a_leading_dot_is_doubled(message: bytes, stuffed: bytes) -> None:
    """RFC 5321 §4.5.2: only at the start of a line, the first included."""
    assert dot_stuff(message) == stuffed


@PROPERTY
@given(st.lists(st.text(".a", max_size=4)).map("\r\n".join))
def test_a_stuffed_message_holds_no_final_dot_and_comes_out_as_it_went_in(text: str) -> None:
    """What a server does by RFC 5321 §4.5.2 to each line gives the message back."""
    lines = dot_stuff(text.encode()).split(b"\r\n")
    assert b"." not in lines
    assert b"\r\n".join(line.removeprefix(b".") for line in lines) == text.encode()
