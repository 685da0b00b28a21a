"""What a letter is when it is to be sent again: its event, its run, its mails; and what should become of it.

Pure: whoever carries it out reads the journal before, and publishes after.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

import aio_pika

from contracts.events import Event, expiry_of
from contracts.journal import What
from contracts.topology import Lane, work_queue
from worker import owed
from worker.addressees import addressees
from worker.adoption import run_id
from worker.copies import History, carried_over, short
from worker.decode import decode
from worker.desk.ledger import Book, Subjects
from worker.desk.letter import UNROUTABLE, Letter
from worker.desk.message import message_of
from worker.errors import PermanentError

MOST_DIGITS: Final = 7


class Fate(Enum):
    """What should become of a letter that was chosen to be sent again.

    `SENT_BEFORE`: a command that was cut off has sent it, and it has ended. `PERHAPS_SENT`: one had begun to.
    """

    SEND = auto()
    SENT_BEFORE = auto()
    PERHAPS_SENT = auto()
    EXPIRED = auto()


@dataclass(frozen=True, slots=True)
class Case:
    """A letter with its event, if it holds one; `mails` are those owed and wanted, by their place."""

    letter: Letter
    event: Event | None
    run: str
    owed: tuple[int, ...]
    mails: Mapping[int, str]

    @classmethod
    def of(cls, letter: Letter) -> "Case":
        """The case of any letter."""
        event = _event(letter)
        due = _due(event, letter.said("owed")) if event else {}
        said = letter.properties
        return cls(
            letter=letter,
            event=event,
            run=run_id(
                carried_over(letter.headers), letter.body, "", letter.id, short(said.message_id), said.timestamp
            ),
            owed=tuple(due),
            mails={index: key for index, key in due.items() if key},
        )

    @property
    def lane(self) -> Lane:
        """The one it came from; of what never reached one, its event's."""
        if self.letter.lane:
            return Lane(self.letter.lane)
        is_urgent = self.event is not None and self.event.routing_key().startswith("password-reset.")
        return Lane.URGENT if is_urgent else Lane.STANDARD

    def queue(self, prefix: str) -> str:
        """The work queue that it goes back to."""
        return work_queue(self.lane, prefix)

    def has_expired(self, now: datetime) -> bool:
        """Whether nothing of it would be sent any more."""
        expires = expiry_of(self.event) if self.event else None
        return expires is not None and expires <= now

    def has_ended(self, book: Book) -> bool:
        """Whether the journal says how it ended after it was sent again."""
        return bool(book.of_run.get(self.run)) or (
            bool(self.mails) and all(key in book.delivered for key in self.mails.values())
        )

    def fate(self, book: Book | None, now: datetime, *, skip_expired: bool) -> Fate:
        """What should become of it; without a `book`, nothing is known of commands before."""
        if book is not None and self.has_ended(book):
            return Fate.SENT_BEFORE
        if book is not None and What.REDRIVEN in book.begun.get(self.letter.id, ()):
            return Fate.PERHAPS_SENT
        return Fate.EXPIRED if skip_expired and self.has_expired(now) else Fate.SEND

    def still_owed(self, book: Book | None) -> str:
        """Its `notify-owed`, without the mails that were delivered meanwhile."""
        delivered = {index for index, key in self.mails.items() if book is not None and key in book.delivered}
        rest = [index for index in self.owed if index not in delivered]
        return owed.written(rest) if delivered and rest else self.letter.said("owed")


def watch(subjects: Subjects, case: Case) -> None:
    """Has the journal searched for what concerns `case`."""
    subjects.letters.add(case.letter.id)
    subjects.runs.add(case.run)
    subjects.mails.update(case.mails.values())
    if case.event is not None:
        subjects.events.add(case.event.id)


@dataclass(frozen=True, slots=True)
class Redrive:
    """What a command says of everything that it sends again."""

    by: str
    note: str

    def message(
        self, case: Case, *, now: datetime, still_owed: str, attempt_traceparent: str, again: bool
    ) -> aio_pika.Message:
        """The letter as it goes back to its lane: a life of its own, that knows of the one before.

        `again` where a command before may have sent it: the worker then asks the others before it sends.
        """
        letter = case.letter
        key = letter.origin_key
        if letter.code == UNROUTABLE and case.event is not None:
            key = case.event.routing_key()
        headers: dict[str, Any] = {
            "notify-dead-id": letter.id,
            "notify-owed": still_owed,
            "notify-origin-key": key,
            "notify-history": History.read(letter.said("history")).plus(now, "redriven", case.lane).written(),
            "notify-redrives": _count(letter.said("redrives")) + 1,
            "notify-redriven-by": self.by,
            "notify-note": self.note,
            "notify-edited-from": letter.said("edited-from"),
            "notify-redrive-again": "yes" if again else "",
            "notify-attempt-traceparent": attempt_traceparent,
        }
        kept = {name: value for name, value in headers.items() if value != ""}
        return message_of(letter.body, carried_over(letter.headers) | kept, letter.properties)


def _event(letter: Letter) -> Event | None:
    said = letter.properties
    try:
        return decode(
            letter.body,
            content_type=said.content_type,
            headers=letter.headers,
            message_type=said.type,
            published=said.timestamp,
        )
    except PermanentError:
        return None
    except Exception:  # noqa: BLE001 - a letter may be here because its bytes meet a bug; others have to go on
        return None


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < MOST_DIGITS else 0


def _due(event: Event, text: str) -> dict[int, str]:
    """Place -> key of the mails that are owed; the key is empty where nobody waits for it."""
    try:
        everybody = addressees(event)
    except Exception:  # noqa: BLE001 - see above
        return {}
    ranges = owed.read(text)
    due = [mail for mail in everybody if any(mail.index in run for run in ranges)] or everybody
    return {mail.index: mail.key if mail.wanted else "" for mail in due}
