"""What the journal says of letters that are sent again: whether they were before, and what became of them.

The worker remembers two hours; a letter may wait for weeks. So before it is sent again, the journal is read
from its death on: what an interrupted command had sent is known, and not sent twice.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from secrets import token_hex
from typing import Any, Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from contracts.dead_letter import rfc3339
from contracts.journal import CONTENT_TYPE, WORKER_HEADER, Record, What
from worker.broker import BROKER_ERRORS
from worker.journal import JournalMissingError

READ_AHEAD: Final = 2000
ACKED_AT_ONCE: Final = 500
STALLED_SECONDS: Final = 20.0
CLOCKS_DIFFER: Final = timedelta(minutes=10)
BEGUN: Final = frozenset({What.REDRIVEN, What.DISCARDED, What.EDITED})
MAIL_ENDED: Final = frozenset({What.DELIVERED, What.SUPPRESSED, What.RETRY, What.DEAD, What.INTERRUPTED})

Publish = Callable[[str, str, aio_pika.Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ending:
    """How one mail of an event ended at one attempt; `at` is RFC 3339 in UTC, and so sorts."""

    at: str
    what: str
    code: str


@dataclass(slots=True)
class Subjects:
    """What is looked for: dead ids, runs, keys of mails, ids of events. Everything else is passed over."""

    letters: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    mails: set[str] = field(default_factory=set)
    events: set[str] = field(default_factory=set)


class Book:
    """The facts that were read; fed with records in their order."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self.begun: defaultdict[str, set[str]] = defaultdict(set)
        self.delivered: set[str] = set()
        self.of_run: defaultdict[str, list[Ending]] = defaultdict(list)
        self.of_event: defaultdict[str, list[Ending]] = defaultdict(list)

    def add(self, record: dict[str, Any]) -> None:
        """Keeps what `record`, a line of the journal, says of the subjects."""
        what, wanted = record.get("what"), self._subjects
        if what in BEGUN and record.get("dead_id") in wanted.letters:
            self.begun[record["dead_id"]].add(str(what))
        elif what in MAIL_ENDED:
            self._add_ending(record, wanted)

    def _add_ending(self, record: dict[str, Any], wanted: Subjects) -> None:
        ending = Ending(str(record.get("at", "")), str(record["what"]), str(record.get("code", "")))
        if record.get("run") in wanted.runs:
            self.of_run[record["run"]].append(ending)
        if record.get("event") in wanted.events:
            self.of_event[record["event"]].append(ending)
        if record["what"] == What.DELIVERED and record.get("mail") in wanted.mails:
            self.delivered.add(record["mail"])


class Ledger:
    """Reads the journal into a `Book` over `connection`; marks its end by `publish`."""

    def __init__(
        self,
        connection: AbstractConnection,
        stream: str,
        publish: Publish,
        subjects: Subjects,
        *,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._publish = publish
        self._told = told
        self._name = f"desk/{token_hex(8)}"
        self._read_up = asyncio.Event()
        self._news = asyncio.Event()
        self.book = Book(subjects)

    async def read(self, since: datetime | None) -> None:
        """Returns when all records from `since` on, or all there are, are read; reads along from then on.

        Raises JournalMissingError where there is no journal to be read.
        """
        try:
            channel = await self._connection.channel()
            await channel.set_qos(prefetch_count=READ_AHEAD)
            stream = await channel.declare_queue(self._stream, passive=True)
            offset = since - CLOCKS_DIFFER if since else "first"
            mark = rfc3339(datetime.now(UTC))
            await stream.consume(partial(self._receive, mark), arguments={"x-stream-offset": offset})
        except (ChannelNotFoundEntity, ChannelAccessRefused) as error:
            raise JournalMissingError(str(error)) from None
        await self._publish("", self._stream, group([Record(at=mark, what=What.READ)], self._name))
        await self._until_read_up()

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Whether `holds` of what the book says, now or within `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    news = self._news
                    await news.wait()
        return holds()

    async def _until_read_up(self) -> None:
        while not self._read_up.is_set():
            news = self._news
            async with asyncio.timeout(STALLED_SECONDS):
                await news.wait()

    async def _receive(self, mark: str, message: AbstractIncomingMessage) -> None:
        own = message.headers.get(WORKER_HEADER) == self._name
        for record in parsed(message.body.splitlines()):
            if own and record.get("at") == mark and record.get("what") == What.READ:
                self._read_up.set()
            else:
                self.book.add(record)
        self._news.set()
        self._news = asyncio.Event()
        if (message.delivery_tag or 0) % ACKED_AT_ONCE == 0:
            if not self._read_up.is_set():
                self._told()
            with suppress(*BROKER_ERRORS):
                await message.ack(multiple=True)


def group(records: Iterable[Record], writer: str) -> aio_pika.Message:
    """A message of the journal."""
    return aio_pika.Message(
        b"\n".join(record.line() for record in records),
        content_type=CONTENT_TYPE,
        headers={WORKER_HEADER: writer},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def parsed(lines: Sequence[bytes]) -> Iterable[dict[str, Any]]:
    """The records among `lines`, not validated, since there are many."""
    for line in lines:
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record
