"""The note that letters were taken out, as it stands in the stream."""

import pytest

from worker.desk.removal import REMOVAL_HEADER, How, Removal


def test_a_note_is_read_as_it_was_written() -> None:
    """Ids, what was done, when, by whom and why."""
    note = Removal(("a", "b"), How.DISCARDED, "2026-11-24T10:00:00.000Z", "operator", "twice")
    message = note.message()
    assert Removal.read(message.headers, message.body) == note


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        ({REMOVAL_HEADER: "retried"}, b"["),
        ({REMOVAL_HEADER: "retried"}, b"[]"),
        ({REMOVAL_HEADER: "retried"}, b"{}"),
        ({REMOVAL_HEADER: "burnt"}, b'{"ids": []}'),
        ({REMOVAL_HEADER: "retried"}, b'{"ids": 7}'),
    ],
)
def test_other_messages_are_no_note(headers: dict[str, str], body: bytes) -> None:
    """Nothing disappears because of what cannot be read."""
    assert Removal.read(headers, body) is None
