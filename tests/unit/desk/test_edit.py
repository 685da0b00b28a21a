"""A letter that is edited: another event, linked to what it was; the same edit makes the same letter."""

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.dead_letter import DeadLetter, Reason
from tests.support.examples import SYSTEM, fresh_example
from tests.support.letters import dead
from worker.decode import STRUCTURED
from worker.desk.edit import Change, EditError, edited
from worker.desk.letter import Letter, Properties

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FIELD = "data.recipients.0.email"


def letter(event: dict[str, Any] | None = None, **more: Any) -> Letter:
    """The dead letter of an event."""
    message = dead(event or fresh_example(SYSTEM), Reason.RECIPIENT_REFUSED, "notify", **more)
    properties = Properties(content_type=STRUCTURED, message_id=message.message_id)
    key = "rejected.recipient-refused"
    return Letter.read("notify.dead.exhausted", key, message.headers, message.body, properties)


def edit(old: Letter, *changes: str) -> Letter:
    """What `--set` makes of it."""
    return edited(old, list(map(Change.read, changes)), by="ann", why="a typo", now=NOW)


def test_the_new_letter_is_another_event_that_knows_what_it_was() -> None:
    """Its record is whole, so that whatever reads dead letters reads it."""
    old = letter(owed="1")
    new = edit(old, f"{FIELD}=right@broddu.example")
    body = json.loads(new.body)
    assert body["data"]["recipients"][0]["email"] == "right@broddu.example"
    assert body["id"] == new.event_id == new.properties.message_id != old.event_id
    record = DeadLetter.from_headers(new.headers)
    assert (record.dead_id, record.edited_from, record.note) == (new.id, old.id, "a typo")
    assert (record.owed, record.code, record.origin_queue) == ("1", old.code, old.origin_queue)
    assert [entry[1] for entry in json.loads(record.history)] == ["edited"]
    assert (
        Letter.read(new.queue, "rejected.recipient-refused", new.headers, new.body, new.properties).id == new.id
    )


def test_the_same_edit_makes_the_same_letter_and_another_makes_another() -> None:
    """Whoever was interrupted does it again."""
    old = letter()
    first, same, other = (edit(old, f"{FIELD}={name}@broddu.example") for name in ("a", "a", "b"))
    assert (first.id, first.event_id, first.body) == (same.id, same.event_id, same.body)
    assert first.id != other.id != old.id


def test_an_event_in_binary_mode_becomes_one_in_structured_mode() -> None:
    """Its envelope stood in headers."""
    event = fresh_example(SYSTEM)
    data = event.pop("data")
    old = letter()
    headers = {**old.headers, **{f"ce-{name}": value for name, value in event.items()}}
    binary = replace(
        old,
        body=json.dumps(data).encode(),
        headers=headers,
        properties=replace(old.properties, content_type="application/json"),
    )
    new = edit(binary, f"{FIELD}=right@broddu.example")
    assert json.loads(new.body)["data"]["recipients"][0]["email"] == "right@broddu.example"
    assert new.properties.content_type == STRUCTURED
    assert not [name for name in new.headers if name.startswith("ce-")]


def test_what_is_owed_by_its_place_keeps_its_place() -> None:
    """Another recipient would shift who had it and who did not."""
    with pytest.raises(EditError, match="how many there are"):
        edit(letter(owed="1"), 'data.recipients.2={"email": "third@broddu.example", "reason": "approver"}')
    assert edit(letter(), 'data.recipients.2={"email": "third@broddu.example", "reason": "approver"}')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a.b=c", "c"),
        ("a.b=7", 7),
        ('a.b="7"', "7"),
        ("a.b=", ""),
        ("a.b=x=y", "x=y"),
        ("a.b=[1]", [1]),
        ("a.b={no json", "{no json"),
    ],
)
def test_a_change_is_json_or_text(text: str, value: Any) -> None:
    """What reads as JSON is that."""
    assert Change.read(text) == Change(("a", "b"), value)


@pytest.mark.parametrize("text", ["", "a", "=x", "a..b=x", ".=x"])
def test_a_change_without_a_field_or_a_value_is_refused(text: str) -> None:
    """With an example of how to write one."""
    with pytest.raises(ValueError, match=r"data\.user\.email="):
        Change.read(text)


@given(
    path=st.lists(st.sampled_from(["data", "recipients", "0", "99", "email", "id", "x"]), min_size=1),
    body=st.binary(),
)
def test_whatever_is_edited_ends_as_a_letter_or_a_sentence(path: list[str], body: bytes) -> None:
    """Bodies are what anybody published."""
    for old in (letter(), replace(letter(), body=body)):
        with suppress(EditError):
            assert edited(old, [Change(tuple(path), "value")], by="ann", why="why", now=NOW).id != old.id
