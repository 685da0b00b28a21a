"""What a pasted id may mean, and which lines of the journal are about it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.journal import Record, What
from worker.desk.selection import moment
from worker.trail import Fact, Search, Sought

MAIL = "0f" * 16
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
EVENT = "A234-1234"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HEADERS = {"notify-worker": "mail-1/1", "notify-settings-rev": "abc"}


def record(**fields: Any) -> bytes:
    """A line of the journal."""
    about = {
        "at": "2026-11-24T12:00:00.000Z",
        "what": What.DELIVERED,
        "mail": MAIL,
        "event": EVENT,
        "trace": TRACE,
    }
    return Record(**{**about, **fields}).line()


def found(text: str, *lines: bytes, since: datetime | None = None) -> list[Fact]:
    """The facts about a pasted id in a message of these lines."""
    search = Search(Sought.of(text), since)
    search.see(HEADERS, b"\n".join(lines))
    return search.facts


@pytest.mark.parametrize(
    "text",
    [
        EVENT,
        f"  {EVENT}\n",
        EVENT.lower(),
        f"'{EVENT}',",
        f"event_id={EVENT}",
        MAIL,
        MAIL.upper(),
        f"<{MAIL}@example.org>",
        f"Message-ID: <{MAIL}@example.org>",
        f"<{MAIL}@exam\r\n ple.org>",
        TRACE,
        f"00-{TRACE}-00f067aa0ba902b7-01",
        f"traceparent: 00-{TRACE.upper()}-00f067aa0ba902b7-01",
        "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
    ],
)
def test_an_id_is_found_as_it_was_pasted(text: str) -> None:
    """With what was around it where it was copied, in any case."""
    (fact,) = found(text, record(), record(event="other", mail="", trace=""))
    assert (fact.mail, fact.worker, fact.settings_rev) == (MAIL, "mail-1/1", "abc")


@pytest.mark.parametrize("text", ["", "  ", "<>", "Message-ID:", "''"])
def test_nothing_is_not_sought(text: str) -> None:
    """It would be in every line."""
    with pytest.raises(ValueError, match="event id"):
        Sought.of(text)


def test_an_id_that_is_part_of_another_or_stands_in_a_reply_is_not_it() -> None:
    """Bytes are searched first, fields decide."""
    assert found("A234", record(), record(event="other", detail="250 queued as A234")) == []


def test_exact_letters_beat_others() -> None:
    """Event ids may differ in capitals only."""
    assert [fact.event for fact in found("abc", record(event="ABC"), record(event="abc"))] == ["abc"]


def test_facts_are_in_the_order_of_time_and_since_leaves_out_the_first() -> None:
    """Workers write when they can."""
    late, early = record(at="2026-11-24T12:00:02.000Z"), record(at="2026-11-24T12:00:01.000Z")
    assert [fact.at[-5:] for fact in found(EVENT, late, early)] == ["1.000Z"[-5:], "2.000Z"[-5:]]
    assert len(found(EVENT, late, early, since=NOW + timedelta(seconds=2))) == 1


@given(st.text(min_size=1).filter(lambda text: text.strip().strip(" <>\"'`,;")))
def test_any_event_id_is_found(name: str) -> None:
    """Quotes, line breaks and other alphabets included, as the journal's JSON has them."""
    assert [fact.event for fact in found(name, record(event=name))] == [name]


@given(st.binary())
def test_no_bytes_end_a_search(body: bytes) -> None:
    """Somebody else may write to the stream."""
    search = Search(Sought.of("a"))
    search.see({}, b"a" + body)
    search.see_dead({"x-first-death-queue": "q"}, body)
    search.see_dead({"notify-removal": "retried"}, body)
    assert all(isinstance(fact, Fact) for fact in search.facts)


def test_fields_of_another_type_are_left_out() -> None:
    """A later version may write them otherwise."""
    line = json.dumps({"at": 1, "what": "delivered", "event": EVENT, "attempt": "2", "unknown": 1}).encode()
    (fact,) = found(EVENT, line)
    assert (fact.at, fact.attempt, fact.unknown) == ("", 0, False)


def test_a_dead_letters_id_leads_to_its_whole_event() -> None:
    """What was sought is widened where nothing but a dead letter bears it."""
    search = Search(Sought.of("01DEAD"))
    search.see(HEADERS, record(what=What.DEAD, dead_id="01DEAD"))
    assert search.widened == Sought(frozenset({EVENT}))


def test_a_note_that_a_dead_letter_was_taken_out_is_a_fact() -> None:
    """How, and when."""
    search = Search(Sought.of(EVENT))
    search.see(HEADERS, record(what=What.DEAD, dead_id="01DEAD"))
    note = {"ids": ["01DEAD"], "at": "2026-11-24T13:00:00.000Z", "by": "me", "note": "mended"}
    search.see_dead({"notify-removal": "retried"}, json.dumps(note).encode())
    assert [(fact.what, fact.detail) for fact in search.facts] == [("dead", ""), ("retried", "mended")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - timedelta(hours=2)),
        (" 30M ", NOW - timedelta(minutes=30)),
        ("2026-11-24", NOW.replace(hour=0)),
        ("2026-11-24T09:30", NOW.replace(hour=9, minute=30)),
        ("2026-11-24T09:30+01:00", NOW.replace(hour=8, minute=30)),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, expected: datetime) -> None:
    """So long ago, or when."""
    assert moment(text, NOW) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "999999w", "2h30", "-1h"])
def test_a_time_that_is_none_is_refused_with_an_example(text: str) -> None:
    """In one sentence."""
    with pytest.raises(ValueError, match="such as"):
        moment(text, NOW)
