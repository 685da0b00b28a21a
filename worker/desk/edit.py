"""A letter is edited: a letter of its own comes of it, that may be looked at and sent again; the old one goes.

The new one has a new event id, since it is another event, and a new dead id, both made of what was done:
whoever is interrupted and does the same again makes the same letter.
"""

import hashlib
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from contracts.dead_letter import Reason
from contracts.events import Event
from contracts.journal import What
from worker.addressees import addressees
from worker.copies import CROCKFORD, History, unchanged
from worker.decode import BINARY_PREFIXES, STRUCTURED, binary_attributes, decode
from worker.desk.begun import begun
from worker.desk.case import Case
from worker.desk.holding import held
from worker.desk.letter import Letter
from worker.desk.removal import How
from worker.desk.restore import bury
from worker.desk.workplace import Workplace
from worker.errors import PermanentError

ID_CHARACTERS: Final = 26
MOST_ITEMS: Final = 10_000


class EditError(Exception):
    """This letter cannot be edited so; the text says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """`path` are the names and places that lead to the field; `value` is JSON's."""

    path: tuple[str, ...]
    value: Any

    @classmethod
    def read(cls, text: str) -> "Change":
        """`data.user.email=new@example.org`: what reads as JSON is that, anything else is text.

        Raises ValueError.
        """
        name, equals, value = text.partition("=")
        path = tuple(part.strip() for part in name.split("."))
        if not equals or not all(path):
            raise ValueError("write the field's path and its value, such as data.user.email=ann@example.org")
        try:
            return cls(path, json.loads(value))
        except (ValueError, RecursionError):
            return cls(path, value)

    def __str__(self) -> str:
        return ".".join(self.path)


def edited(letter: Letter, changes: Sequence[Change], *, by: str, why: str, now: datetime) -> Letter:
    """The letter that `changes` make of `letter`. Raises EditError, which repeats no value."""
    if letter.code not in set(Reason):
        raise EditError("Only what a worker could not deliver can be edited: publish this event anew instead.")
    document = _document(letter)
    for change in changes:
        _change(document, change)
    dead_id, event_id = _ids(letter, document)
    document["id"] = event_id
    body = json.dumps(document, ensure_ascii=False).encode(errors="surrogatepass")
    event = _valid(body)
    _refuse_shifted_mails(letter, event)
    return replace(
        letter,
        id=dead_id,
        event_id=event_id,
        event_type=event.type,
        body=body,
        headers=_headers(letter, event, dead_id=dead_id, by=by, why=why, now=now),
        properties=replace(letter.properties, content_type=STRUCTURED, message_id=event_id),
    )


async def edit(
    place: Workplace, old: Letter, new: Letter, *, present: Collection[str], by: str, why: str
) -> bool:
    """Puts `new` in place of `old`; `present` are the ids there are. Returns whether `old` was there still.

    Raises BrokerUnavailableError; then both may be there, and doing the same again mends it.
    """
    async with held(place.connection, [old.queue], lambda letter: letter.id == old.id) as taken:
        for one in taken:
            await place.write([begun(What.EDITED, one.letter, by, why)])
            if new.id not in present:
                await bury(place, new)
            await one.message.ack()
    if taken:
        await place.note_removal([old.id], How.EDITED, by, why)
    return bool(taken)


async def body_of(place: Workplace, letter: Letter) -> Letter:
    """The same letter with its body. Raises EditError where it is gone."""
    async with held(place.connection, [letter.queue], lambda other: other.id == letter.id) as taken:
        if not taken:
            raise EditError("It is no longer there.")
        return taken[0].letter


def _document(letter: Letter) -> dict[str, Any]:
    """The event as JSON in structured mode, whichever mode it came in."""
    try:
        body = json.loads(letter.body)
    except (ValueError, RecursionError):
        raise EditError("Its body is not JSON, so it has no fields: publish the event anew instead.") from None
    media_type = (letter.properties.content_type or "").partition(";")[0].strip().lower()
    attributes = binary_attributes(letter.headers)
    if media_type != STRUCTURED and "specversion" in attributes:
        return {**attributes, "data": body}
    if not isinstance(body, dict):
        raise EditError("Its body is no JSON object, so it has no fields: publish the event anew instead.")
    return body


def _change(document: dict[str, Any], change: Change) -> None:
    *parents, last = change.path
    if last == "id" and not parents:
        raise EditError("The id is given by this command: it is a new event.")
    target: Any = document
    for part in parents:
        target = _inside(target, part, change)
    match target:
        case dict():
            target[last] = change.value
        case list() if last.isdigit() and int(last) <= min(len(target), MOST_ITEMS):
            target[int(last) : int(last) + 1] = [change.value]
        case _:
            raise EditError(f"There is no field {change} in it.")


def _inside(target: Any, part: str, change: Change) -> Any:
    match target:
        case dict() if part in target:
            return target[part]
        case list() if part.isdigit() and int(part) < len(target):
            return target[int(part)]
        case _:
            raise EditError(f"There is no field {change} in it.")


def _ids(letter: Letter, document: Mapping[str, Any]) -> tuple[str, str]:
    """The dead id and the event id of what is made of `letter`."""
    made_of = f"{letter.id}\0{json.dumps(document, sort_keys=True)}"
    number = int.from_bytes(hashlib.sha256(made_of.encode()).digest()[:16])
    dead_id = "".join(CROCKFORD[number >> shift & 31] for shift in range((ID_CHARACTERS - 1) * 5, -1, -5))
    return dead_id, str(uuid.uuid5(uuid.NAMESPACE_URL, made_of))


def _valid(body: bytes) -> Event:
    try:
        return decode(body, content_type=STRUCTURED, headers={})
    except PermanentError as error:
        raise EditError(f"So it would not be an event: {error.detail}") from None


def _refuse_shifted_mails(letter: Letter, event: Event) -> None:
    """The mails still owed are known by their place in the event's list of mails."""
    before = Case.of(letter).event
    if before is None or not letter.said("owed"):
        return
    if len(addressees(before)) != len(addressees(event)):
        raise EditError(
            "Some of its mails may have been sent, and this would change how many there are: "
            "change an address, not the number of recipients."
        )


def _headers(letter: Letter, event: Event, *, dead_id: str, by: str, why: str, now: datetime) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in unchanged(letter.headers).items()
        if not name.lower().startswith((*BINARY_PREFIXES, "x-death", "x-first-death-", "x-last-death-"))
    }
    said = {
        "notify-dead-id": dead_id,
        "notify-class": letter.dead_class,
        "notify-code": letter.code,
        "notify-text": letter.about.text,
        "notify-hint": letter.about.hint,
        "notify-died": (letter.died or now).astimezone(UTC).isoformat(),
        "notify-origin-queue": letter.origin_queue,
        "notify-origin-key": letter.origin_key,
        "notify-event-id": event.id,
        "notify-event-type": event.type,
        "notify-history": History.read(letter.said("history")).plus(now, "edited", "").written(),
        "notify-note": why,
        "notify-redriven-by": by,
        "notify-edited-from": letter.id,
    }
    return kept | {name: value for name, value in said.items() if name not in kept or name in _NEW}


_NEW: Final = frozenset(
    f"notify-{name}"
    for name in ("dead-id", "event-id", "event-type", "history", "note", "redriven-by", "edited-from")
)
