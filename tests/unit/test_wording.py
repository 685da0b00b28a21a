"""Language choice and fallback, phrases, dates, and text that a mail can carry."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import PermanentError
from worker.stationery import bundled
from worker.wording import (
    Reader,
    Said,
    Wording,
    choose,
    clean,
    direction,
    flat,
    language_tag,
    nearest,
    quoted,
    time_zone,
)

LOCALES = ("cy", "en-GB")
ENGLISH = bundled().wordings["en-GB"]
WELSH = bundled().wordings["cy"]
ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        pytest.param("cy", "cy", id="as-it-is"),
        pytest.param("CY-gb", "cy-GB", id="case"),
        pytest.param(" en_gb ", "en-GB", id="underscore-and-blanks"),
        pytest.param("zh-hans-cn", "zh-Hans-CN", id="script"),
        pytest.param("es-419", "es-419", id="region-number"),
        pytest.param("", None, id="empty"),
        pytest.param("default", "default", id="eight-letters"),
        pytest.param("en GB", None, id="blank-inside"),
        pytest.param("en\r\nBcc: x", None, id="line-break"),
        pytest.param('en"><script>', None, id="markup"),
    ],
)
def test_a_language_tag_has_one_spelling(text: str, tag: str | None) -> None:
    """Lower-case language, upper-case region; what is no tag is none, as tags go into headers and HTML."""
    assert language_tag(text) == tag


@pytest.mark.parametrize(
    ("chain", "language"),
    [
        pytest.param(["cy"], "cy", id="exact"),
        pytest.param(["CY-gb"], "cy", id="CY-gb-is-Welsh"),
        pytest.param(["en-US"], "en-GB", id="en-US-is-English"),
        pytest.param(["en"], "en-GB", id="en-is-English"),
        pytest.param(["en-US", "cy"], "en-GB", id="another-English-beats-the-next-in-the-chain"),
        pytest.param(["fr-fr"], "en-GB", id="no-French"),
        pytest.param(["xx"], "en-GB", id="unknown"),
        pytest.param(["fr-fr", "cy"], "cy", id="no-French-so-the-resource's"),
        pytest.param(["xx", None, "cy-GB"], "cy", id="the-project's-after-nothing"),
        pytest.param([None, "", "  "], "en-GB", id="nothing-set"),
        pytest.param([], "en-GB", id="no-chain"),
    ],
)
def test_the_first_language_there_is_something_for_is_chosen(chain: list[str | None], language: str) -> None:
    """Recipient, then resource, then project, each reduced; then British English."""
    assert choose(chain, LOCALES) == language


@pytest.mark.parametrize(
    ("wanted", "available", "found"),
    [
        pytest.param("en-US", ("en", "en-GB"), "en", id="en-before-en-GB"),
        pytest.param("en-US", ("en-AU", "en-GB"), "en-GB", id="en-GB-before-others"),
        pytest.param("en-GB", ("en-US",), "en-US", id="another-region-before-another-language"),
        pytest.param("cy", ("EN-gb", "CY-gb"), "CY-gb", id="keys-in-any-case-are-given-back-as-they-are"),
        pytest.param("cy", ("english", "?"), None, id="keys-that-are-no-tags"),
        pytest.param("cy", (), None, id="nothing"),
    ],
)
def test_the_nearest_language_is_the_same_language(
    wanted: str, available: tuple[str, ...], found: str | None
) -> None:
    """Exact, then without region, then any region of it; never another language."""
    assert nearest(wanted, available) == found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("testun", "testun", id="plain"),
        pytest.param({"en-GB": "text", "cy": "testun"}, "testun", id="own"),
        pytest.param({"en-gb": "text", "CY-gb": "testun"}, "testun", id="own-in-another-spelling"),
        pytest.param({"de": "Text", "en-US": "text"}, "text", id="English"),
        pytest.param({"de": "Text", "fr": "texte"}, "texte", id="the-project's"),
        pytest.param({"de": "Text", "es": "texto"}, "Text", id="the-first"),
        pytest.param({"cy": "", "en-GB": "text"}, "text", id="an-empty-text-is-none"),
        pytest.param({"cy": ""}, "", id="nothing-but-empty"),
    ],
)
def test_a_localized_value_is_said_in_the_readers_language(value: str | dict[str, str], text: str) -> None:
    """The mail's language, the project's, English, the first there is."""
    reader = Reader(WELSH, ("cy", "fr", "en-GB"), time_zone(None))
    assert reader.said(value) == text


@pytest.mark.parametrize(
    ("language", "written"),
    [
        pytest.param("ar", "rtl", id="Arabic"),
        pytest.param("fa-IR", "rtl", id="Persian-with-its-region"),
        pytest.param("UR", "rtl", id="Urdu-in-another-spelling"),
        pytest.param("he", "rtl", id="Hebrew"),
        pytest.param("az-Arab", "rtl", id="Azerbaijani-in-Arabic-letters"),
        pytest.param("ar-Latn", "ltr", id="Arabic-in-Latin-letters"),
        pytest.param("cy", "ltr", id="Welsh"),
        pytest.param("", "ltr", id="none"),
    ],
)
def test_a_language_is_written_as_its_letters_are(language: str, written: str) -> None:
    """Those that the CMS documents as right-to-left, and others that may be added."""
    assert direction(language) == written


NOON = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, 8, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "zone", "english", "welsh"),
    [
        pytest.param(
            NOON,
            "Europe/London",
            "24 November 2026 at 12:30 (GMT)",
            "24 Tachwedd 2026 am 12:30 (GMT)",
            id="winter",
        ),
        pytest.param(
            SUMMER,
            "Europe/London",
            "1 July 2026 at 09:05 (BST)",
            "1 Gorffennaf 2026 am 09:05 (BST)",
            id="summer",
        ),
        pytest.param(
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
            "Europe/London",
            "25 October 2026 at 01:30 (BST)",
            "25 Hydref 2026 am 01:30 (BST)",
            id="the-hour-that-comes-twice-first",
        ),
        pytest.param(
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
            "Europe/London",
            "25 October 2026 at 01:30 (GMT)",
            "25 Hydref 2026 am 01:30 (GMT)",
            id="the-hour-that-comes-twice-again",
        ),
        pytest.param(
            datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
            "Europe/London",
            "29 March 2026 at 02:00 (BST)",
            "29 Mawrth 2026 am 02:00 (BST)",
            id="the-hour-that-never-comes",
        ),
        pytest.param(
            datetime(2026, 1, 1, 3, 0, tzinfo=UTC),
            "America/New_York",
            "31 December 2025 at 22:00 (EST)",
            "31 Rhagfyr 2025 am 22:00 (EST)",
            id="the-year-before",
        ),
        pytest.param(
            NOON,
            "Asia/Riyadh",
            "24 November 2026 at 15:30 (UTC+03)",
            "24 Tachwedd 2026 am 15:30 (UTC+03)",
            id="a-zone-without-a-name",
        ),
        pytest.param(
            NOON,
            "Mars/Olympus",
            "24 November 2026 at 12:30 (UTC)",
            "24 Tachwedd 2026 am 12:30 (UTC)",
            id="unknown-zone",
        ),
        pytest.param(
            datetime(2026, 11, 24, 14, 30, tzinfo=timezone(timedelta(hours=2))),
            None,
            "24 November 2026 at 12:30 (UTC)",
            "24 Tachwedd 2026 am 12:30 (UTC)",
            id="no-zone-and-an-offset",
        ),
        pytest.param(
            datetime(9999, 12, 31, 23, 59, tzinfo=UTC),
            "Asia/Tokyo",
            "31 December 9999 at 23:59 (UTC)",
            "31 Rhagfyr 9999 am 23:59 (UTC)",
            id="the-last-day",
        ),
    ],
)
def test_a_date_is_told_on_the_readers_clock_and_in_their_words(
    moment: datetime, zone: str | None, english: str, welsh: str
) -> None:
    """Day, month by name, 24 hours, the zone's short name."""
    assert (ENGLISH.date(moment, time_zone(zone)), WELSH.date(moment, time_zone(zone))) == (english, welsh)


@pytest.mark.parametrize(
    "name",
    [None, "", "Mars/Olympus", "../../etc/passwd", "Europe", "/etc/localtime", "a\0b", "\ud800", "x" * 9999],
    ids=["none", "empty", "unknown", "parent", "folder", "absolute", "nul", "surrogate", "long"],
)
def test_a_zone_that_is_none_is_utc(name: str | None) -> None:
    """A recipient's zone is whatever the CMS's profile says; no value of it can fail a mail."""
    assert time_zone(name) == ZoneInfo("UTC")


def test_a_phrase_is_filled_with_its_values() -> None:
    """Braces in a value are only text."""
    values = {"actor": "{title}", "title": "Tŷ {Ŵyl}"}
    assert ENGLISH.say(values, "workflow.submit.text") == "{title} has sent “Tŷ {Ŵyl}” for approval."


def test_a_value_never_breaks_the_line_of_a_phrase() -> None:
    """A title cannot forge lines of the mail or of its subject."""
    title = "a\r\nBcc: x\u2028-- \nb"
    assert ENGLISH.say({"title": title}, "workflow.decline.subject") == "Declined: a Bcc: x -- b"


@pytest.mark.parametrize(
    ("key", "missing"),
    [("no.such.key", "the phrase no.such.key"), ("greeting", "{name} of the phrase greeting")],
)
def test_a_missing_phrase_or_value_is_a_fault_of_the_template(key: str, missing: str) -> None:
    """The error names language, key and what is missing, and no value."""
    with pytest.raises(PermanentError) as caught:
        ENGLISH.say({"title": "secret"}, key)
    assert caught.value.detail == f"there is nothing for {missing} in en-GB"


def test_a_phrase_is_said_once_a_mail() -> None:
    """Text and HTML share it."""
    said = Said(ENGLISH, {"name": "Siân"})
    assert said["greeting"] is said["greeting"]


@pytest.mark.parametrize(
    ("state", "name"),
    [
        pytest.param("awaitingApproval", "Yn aros am gymeradwyaeth", id="documented"),
        pytest.param("awaitingapproval", "Yn aros am gymeradwyaeth", id="in-any-case"),
        pytest.param("legalReview", "legalReview", id="a-customer's-own"),
    ],
)
def test_a_state_is_named_if_the_cms_documents_it(state: str, name: str) -> None:
    """Customers define workflows of their own; such a state stays as it is."""
    assert WELSH.state(state) == name


def test_every_language_has_the_same_phrases_with_the_same_placeholders() -> None:
    """A translation that forgets one would show English, or nothing where a title belongs."""
    english, welsh = (_phrases(wording) for wording in (ENGLISH, WELSH))
    assert english.keys() == welsh.keys()
    for key, parts in english.items():
        assert sorted(parts[1::2]) == sorted(welsh[key][1::2]), key


def test_typographic_quotes_are_used_throughout() -> None:
    """The wording's own rule; a straight quote is a slip."""
    for wording in (ENGLISH, WELSH):
        assert not [key for key, parts in _phrases(wording).items() if {"'", '"'} & set("".join(parts))]


def _phrases(wording: Wording) -> dict[str, list[str]]:
    return wording._phrases


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param("a\r\nb\rc", "a\nb\nc", id="line-ends"),
        pytest.param("a\0b\x1b[31m\x7f\x85", "ab[31m", id="controls"),
        pytest.param("\tTŷ Ŵyl\n", "\tTŷ Ŵyl\n", id="tab-and-newline-stay"),
        pytest.param("a\ud800b", "a\ufffdb", id="lone-surrogate"),
        pytest.param("\u202eab\u202c", "\u202eab\u202c", id="direction-marks-stay"),
    ],
)
def test_what_no_mail_can_carry_goes(text: str, cleaned: str) -> None:
    """Control characters are left out, a lone surrogate is replaced."""
    assert clean(text) == cleaned


def test_each_line_of_a_quote_is_marked() -> None:
    """As mail programs do, empty lines too."""
    assert quoted("a\r\n\r\nb") == "> a\n> \n> b"


@given(ANY_TEXT)
@settings(max_examples=300, deadline=None)
def test_any_text_comes_out_sendable(text: str) -> None:
    """Whatever comes in has a UTF-8 form and, flat, one line."""
    clean(text).encode()
    assert len(flat(text).splitlines()) <= 1
    assert clean(clean(text)) == clean(text)
