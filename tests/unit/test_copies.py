"""What a copy carries: the history of attempts, an id that sorts, headers that can be published."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.encode import field_table, short_string

from contracts.dead_letter import rfc3339
from worker.copies import History, _bounded, short, ulid

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_history_grows_by_its_last_attempts_and_is_read_back() -> None:
    """Eight are kept, the latest last."""
    history = History()
    for n in range(12):
        history = History.read(history.plus(NOW + timedelta(minutes=n), "smtp-busy", f"tier{n}").written())
    assert [tier for _, _, tier in history.entries] == [f"tier{n}" for n in range(4, 12)]


def test_no_history_is_no_header() -> None:
    """A first copy says nothing of attempts."""
    assert History().written() == ""


@given(st.text() | st.just("[" * 100_000) | st.just('[["a","b","c"],["d"]]'))
def test_whatever_stands_in_the_header_is_a_history(text: str) -> None:
    """Anybody may have written it."""
    assert len(History.read(text).plus(NOW, "code", "tier").written()) < 4_000


def test_ids_sort_by_time() -> None:
    """26 characters of Crockford's alphabet."""
    ids = [ulid(NOW + timedelta(milliseconds=n)) for n in range(100)]
    assert ids == sorted(ids)
    assert {len(dead_id) for dead_id in ids} == {26}


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        pytest.param({"a": "text", "b": 1}, {"a", "b"}, id="plain ones"),
        pytest.param({"a": b"\xff\xfe", "b": 1}, {"a", "b"}, id="one that is no text"),
        pytest.param({"a": [b"\xff", {"deep": b"\xfe"}]}, {"a"}, id="and one deep inside"),
        pytest.param({"a": 1e300, "b": 1}, {"b"}, id="a number too large for the client"),
        pytest.param({"a": 2**70, "b": 1}, {"b"}, id="an integer too large"),
        pytest.param({"a": object(), "b": 1}, {"b"}, id="something else"),
        pytest.param({"a": "x" * 100_000, "b": "y" * 1000}, {"b"}, id="the largest of too many"),
    ],
)
def test_what_cannot_be_published_is_left_out(headers: dict[str, Any], kept: set[str]) -> None:
    """The rest is carried over, and can be written by the client."""
    bounded = _bounded(headers)
    assert set(bounded) == kept
    assert field_table(bounded)


def test_a_decimal_is_carried_over_as_text() -> None:
    """RabbitMQ cannot write one to a stream, and would close the connection that all copies go by."""
    assert _bounded({"a": Decimal("-1.25"), "b": [Decimal(1)]}) == {"a": "-1.25", "b": ["1"]}


@pytest.mark.parametrize("text", ["\ufffd" * 255, "x" * 254 + "\ufffd", "short", "", None])
def test_a_property_that_has_grown_in_reading_is_cut(text: str | None) -> None:
    """255 bytes are what AMQP allows; each byte that is no UTF-8 is read as a character of three."""
    cut = short(text)
    assert (text or "").startswith(cut or "")
    assert len(short_string(cut or "")) <= 256
    assert cut == text or len((text or "").encode()) > 255


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00.000+23:59", "9999-12-31T23:59:59.000-23:59"])
def test_a_moment_that_has_no_time_in_utc_is_written_as_it_is(text: str) -> None:
    """An event may expire at one, and that is no error of the worker."""
    assert rfc3339(datetime.fromisoformat(text)) == text
