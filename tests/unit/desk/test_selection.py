"""Which letters a filter takes, and which a word names."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.desk.test_letter import OURS, read
from worker.desk.selection import AmbiguousError, Filter, moment, named

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
LETTER = read(headers=OURS)
OTHER = replace(LETTER, id="01KB0000000000000000000009", code="smtp-quota", lane="standard", event_id="event-9")


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        ({}, True),
        ({"codes": {"oauth2-requires-tls", "smtp-quota"}}, True),
        ({"codes": {"smtp-quota"}}, False),
        ({"classes": {"config"}}, True),
        ({"classes": {"poison"}}, False),
        ({"lanes": {"urgent"}}, True),
        ({"lanes": {"standard"}}, False),
        ({"groups": {LETTER.group}}, True),
        ({"groups": {"000000"}}, False),
        ({"event_ids": {"event-1"}}, True),
        ({"event_ids": {"event-2"}}, False),
        ({"since": NOW - timedelta(hours=1)}, True),
        ({"since": NOW}, False),
        ({"codes": {"oauth2-requires-tls"}, "lanes": {"standard"}}, False),
    ],
)
def test_a_letter_has_to_match_every_field(fields: dict[str, Any], taken: bool) -> None:  # noqa: FBT001 - a column
    """Any word of a field, every field."""
    wanted: dict[str, Any] = {
        name: frozenset(value) if isinstance(value, set) else value for name, value in fields.items()
    }
    assert Filter(**wanted)(LETTER) is taken


def test_a_letter_of_unknown_age_is_not_left_out() -> None:
    """What cannot be known is shown rather than hidden."""
    assert Filter(since=NOW)(replace(LETTER, died=None))


@pytest.mark.parametrize(
    ("word", "found"),
    [
        (LETTER.id, [LETTER]),
        (LETTER.id.lower(), [LETTER]),
        (LETTER.group, [LETTER]),
        (LETTER.group[:4], [LETTER]),
        ("smtp-quota", [OTHER]),
        (OTHER.id[:26], [OTHER]),
        ("nothing", []),
        ("", []),
    ],
)
def test_a_word_names_letters(word: str, found: list[object]) -> None:
    """By id, group or code, or the beginning of the first two."""
    assert named(word, [LETTER, OTHER]) == found


def test_the_beginning_of_several_names_is_refused() -> None:
    """It says which there are."""
    with pytest.raises(AmbiguousError) as refusal:
        named("01KB", [LETTER, OTHER])
    assert refusal.value.names == (LETTER.id, OTHER.id)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("2h", NOW - timedelta(hours=2)),
        (" 3 D ", NOW - timedelta(days=3)),
        ("2026-11-24T09:30", datetime(2026, 11, 24, 9, 30, tzinfo=UTC)),
        ("2026-11-24T09:30+01:00", datetime(2026, 11, 24, 8, 30, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_a_moment_is_an_age_or_a_time(text: str, meant: datetime) -> None:
    """As people write it."""
    assert moment(text, NOW) == meant


@pytest.mark.parametrize("text", ["", "yesterday", "2", "h", "999999w", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    """The sentence shows what to write."""
    with pytest.raises(ValueError, match="2h"):
        moment(text, NOW)
