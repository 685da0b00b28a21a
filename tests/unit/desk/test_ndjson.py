"""A dead letter as a line, and back."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.desk.test_letter import OURS, read
from worker.desk import ndjson
from worker.desk.letter import Properties

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@given(body=st.binary(), extra=st.none() | st.text() | st.binary() | st.integers() | st.booleans())
def test_a_line_holds_all_of_a_letter(body: bytes, extra: object) -> None:
    """Body, headers and properties, whatever bytes they are of."""
    properties = Properties(message_id="m", timestamp=NOW, content_type="application/json")
    letter = read(headers={**OURS, "extra": extra, "at": NOW}, body=body, properties=properties)
    line = ndjson.written(letter)
    assert "\n" not in line
    assert ndjson.read(line) == letter


def test_a_derived_id_survives() -> None:
    """Though the broker's headers are left out."""
    letter = read(headers={"x-death": [{"time": NOW}], "x-stream-offset": 7})
    assert "x-death" not in ndjson.written(letter)
    assert ndjson.read(ndjson.written(letter)).id == letter.id


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "{}", '{"format": "notify-dead-letter/1"}', '{"format": "x/2"}']
)
def test_other_lines_are_refused(line: str) -> None:
    """Without repeating them."""
    with pytest.raises(ValueError, match="dead export"):
        ndjson.read(line)
