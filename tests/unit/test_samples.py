"""Example events are made fresh: one offset for all times, a new identity, and nothing else touched."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import events
from contracts.samples import fresh

EXAMPLES = sorted((Path(events.__file__).parent / "examples").glob("*.json"))
NOW = datetime(2031, 5, 17, 8, 30, 15, 250_000, tzinfo=UTC)
TIME = "2026-11-24T11:30:00.000Z"


def moment(text: str) -> datetime:
    """An RFC 3339 date-time."""
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_fresh_example_is_valid_and_happens_now(path: Path) -> None:
    """Every example still meets its contract, and its `time` is the given moment."""
    event = events.EVENT.validate_python(fresh(json.loads(path.read_text("utf-8")), NOW))
    assert event.time == NOW


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_only_times_and_identity_change(path: Path) -> None:
    """Every other value, such as `2026-11-30 09:00` in a text, stays as it is."""
    event = json.loads(path.read_text("utf-8"))
    changed = {name for name, value in leaves(fresh(event, NOW)).items() if leaves(event)[name] != value}
    assert changed <= {
        "id",
        "time",
        "traceparent",
        "expirytime",
        "data.reset.expires",
        "data.schedule.dateTime",
        "data.workflow.transition.invoked",
    }


@pytest.mark.parametrize(
    ("text", "shifted"),
    [
        pytest.param("2026-11-24T12:30:00Z", "2031-05-17T09:30:15.250000Z", id="UTC"),
        pytest.param("2026-11-24T13:30:00+01:00", "2031-05-17T10:30:15.250000+01:00", id="keeps its offset"),
        pytest.param("2026-11-24T11:29:59.750Z", "2031-05-17T08:30:15Z", id="fraction"),
        pytest.param("2026-11-30 09:00", "2026-11-30 09:00", id="text for people"),
        pytest.param("due 2026-11-24T12:30:00Z", "due 2026-11-24T12:30:00Z", id="within a sentence"),
        pytest.param("2026-11-24T12:30:00", "2026-11-24T12:30:00", id="without an offset"),
        pytest.param("2026-02-30T12:30:00Z", "2026-02-30T12:30:00Z", id="no such day"),
    ],
)
def test_a_string_moves_only_if_it_is_a_date_time(text: str, shifted: str) -> None:
    """RFC 3339 date-times move by the event's offset; anything else is text."""
    assert fresh({"time": TIME, "data": [{"x": text}]}, NOW)["data"] == [{"x": shifted}]


def test_each_publication_has_an_identity_of_its_own() -> None:
    """Two fresh copies differ in id and trace, so that neither is taken for a duplicate."""
    event = {"id": "old", "time": TIME, "traceparent": f"00-{'4' * 32}-{'5' * 16}-00"}
    first, second = fresh(event, NOW), fresh(event, NOW)
    assert len({event["id"], first["id"], second["id"]}) == 3
    assert first["traceparent"] != second["traceparent"]
    assert first["traceparent"].endswith("-00"), "the sampling decision is kept"


def test_an_event_without_a_trace_gets_none() -> None:
    """Whether a publisher traces is the publisher's choice."""
    assert "traceparent" not in fresh({"time": TIME}, NOW)


def test_the_original_is_left_alone() -> None:
    """The same example can be made fresh again and again."""
    event: dict[str, Any] = {"time": TIME, "data": {"expires": TIME, "list": [TIME]}}
    before = json.dumps(event)
    fresh(event, NOW)
    assert json.dumps(event) == before


@pytest.mark.parametrize("event", [{}, {"time": None}, {"time": "yesterday"}], ids=["none", "null", "text"])
def test_an_event_needs_a_time(event: dict[str, Any]) -> None:
    """There is no offset without it."""
    with pytest.raises(ValueError, match="time must be an RFC 3339 date-time"):
        fresh(event, NOW)


MOMENTS = st.integers(0, 200 * 365 * 86_400 * 10**6).map(
    lambda microseconds: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@settings(max_examples=200, deadline=None)
@given(happened=MOMENTS, other=MOMENTS, zone=OFFSETS, now=MOMENTS)
def test_what_lies_between_two_times_stays(
    happened: datetime, other: datetime, zone: timezone, now: datetime
) -> None:
    """A reset link keeps its hour to the microsecond, whatever the zone it is written in."""
    moved = fresh({"time": happened.isoformat(), "data": other.astimezone(zone).isoformat()}, now)
    assert moment(moved["data"]) - moment(moved["time"]) == other - happened


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted path of every plain value of a JSON document -> the value."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = {str(index): part for index, part in enumerate(value)}.items()
    else:
        return {path: value}
    return {
        name: leaf
        for key, part in parts
        for name, leaf in leaves(part, f"{path}.{key}" if path else key).items()
    }
