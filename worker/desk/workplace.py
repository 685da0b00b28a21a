"""Where dead letters are changed: the lock, what is published by, and the journal if there is one."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from contracts.dead_letter import rfc3339
from contracts.journal import Record
from contracts.topology import dead_stream, journal_stream
from worker.broker import BrokerUnavailableError, Publisher
from worker.desk.holding import desk
from worker.desk.ledger import Ledger, Subjects, group
from worker.desk.letter import Letter
from worker.desk.removal import How, Removal
from worker.journal import JournalMissingError

WRITER: Final = "desk"


@dataclass(slots=True)
class Workplace:
    """A command's connection to the broker, alone with the dead letters under `prefix`.

    Letters are published by `publisher`; what goes to the streams by `notes`, so that nothing wrong with those
    disturbs it. `has_journal` is false at a broker without the streams. `reading` is called again and again
    while the journal is read.
    """

    connection: AbstractConnection
    publisher: Publisher
    notes: Publisher
    prefix: str
    has_journal: bool = False
    reading: Callable[[], None] = lambda: None

    async def ledger(self, subjects: Subjects, letters: Iterable[Letter]) -> Ledger | None:
        """The journal, read from the first death among `letters` on; None without one."""
        if not self.has_journal:
            return None
        died = [letter.died for letter in letters]
        known = [moment for moment in died if moment is not None]
        stream = journal_stream(self.prefix)
        ledger = Ledger(self.connection, stream, self.notes.publish, subjects, told=self.reading)
        try:
            await ledger.read(min(known) if known and len(known) == len(died) else None)
        except JournalMissingError as error:
            raise BrokerUnavailableError(f"The journal went away: {error}") from None
        return ledger

    async def write(self, records: Iterable[Record]) -> None:
        """Returns when the journal has `records`, if there is one. Raises BrokerUnavailableError."""
        if self.has_journal:
            await self.notes.publish("", journal_stream(self.prefix), group(records, WRITER))

    async def note_removal(self, ids: Iterable[str], how: How, by: str, note: str) -> None:
        """Says in the stream of dead letters that these are gone, if there is one."""
        gone = tuple(ids)
        if gone and self.has_journal:
            removal = Removal(gone, how, rfc3339(datetime.now(UTC)), by, note)
            await self.notes.publish("", dead_stream(self.prefix), removal.message())


@asynccontextmanager
async def workplace(url: str, prefix: str) -> AsyncIterator[Workplace]:
    """A place to change dead letters at. Raises as `desk` does."""
    publisher, notes = (
        Publisher(url, "notify-worker/desk-publish"),
        Publisher(url, "notify-worker/desk-journal"),
    )
    async with desk(url, prefix) as connection:
        place = Workplace(connection, publisher, notes, prefix)
        place.has_journal = await _all_there(connection, journal_stream(prefix), dead_stream(prefix))
        try:
            yield place
        finally:
            await publisher.close()
            await notes.close()


async def _all_there(connection: AbstractConnection, *queues: str) -> bool:
    channel = await connection.channel()
    try:
        for queue in queues:
            await channel.declare_queue(queue, passive=True)
    except (ChannelNotFoundEntity, ChannelAccessRefused):
        return False
    await channel.close()
    return True
