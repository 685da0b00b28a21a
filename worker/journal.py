"""The journal in a stream of the broker: what became of every mail is written there, and read along by all.

Outcomes are written in groups: one message for whatever came together while the one before was on its way. A
delivery is acknowledged when its records are confirmed. What other workers delivered or settled is remembered
as one's own is, so that a redelivery, a retry copy, a redrive and an event published twice are known.

What remains: a mail that the server accepted, and whose record is not confirmed yet, is sent again if its
worker is killed then; and so is one that another worker gets while this one, cut off from the broker, is still
sending it for longer than `HOLD_SECONDS`.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from contracts.dead_letter import rfc3339
from contracts.journal import CONTENT_TYPE, SETTINGS_REV_HEADER, WORKER_HEADER, Record, What
from contracts.signals import Action
from worker.adoption import Runs
from worker.broker import (
    BROKER_ERRORS,
    BrokerRefusedError,
    BrokerUnavailableError,
    end_of,
    hang_up,
    in_words,
    unless_lost,
    watch,
)
from worker.recent import RecentMails

CONFIRM_SECONDS: Final = 5.0
"""How long an acknowledgement waits for the journal: in a memory alarm the broker confirms nothing."""

HOLD_SECONDS: Final = 3.0
"""How long a redelivery that is unknown here waits for the record of the worker that had it."""

GATHER_SECONDS: Final = 0.004
AGAIN_SECONDS: Final = 0.5
MISSING_SECONDS: Final = 60.0
MOST_LINES: Final = 500
MOST_PENDING: Final = 20_000
READ_BACK: Final = timedelta(hours=2)
READ_BACK_SECONDS: Final = 20.0
READ_AHEAD: Final = 200
ACKED_AT_ONCE: Final = 50
PATIENCE: Final = 3

log = structlog.get_logger()


class JournalMissingError(Exception):
    """There is no stream at this broker, and none can be declared; the text says why."""


class Publish(Protocol):
    """Returns when the broker has confirmed. Raises BrokerUnavailableError."""

    def __call__(self, exchange: str, key: str, message: aio_pika.Message) -> Awaitable[None]:
        """Publishes `message`, mandatory."""


class Journal:
    """Writes to and reads along the stream `stream`; `available` says whether there is one.

    `connect` opens a connection to a broker that has the stream, and raises JournalMissingError. `worker` and
    `settings_rev` say whose the records are. `recent` and `runs` remember what is read.
    """

    def __init__(
        self,
        *,
        stream: str,
        publish: Publish,
        connect: Callable[[], Awaitable[AbstractConnection]],
        recent: RecentMails,
        runs: Runs,
        worker: str,
        settings_rev: str,
    ) -> None:
        self._stream = stream
        self._publish = publish
        self._connect = connect
        self._recent = recent
        self._runs = runs
        self._headers = {WORKER_HEADER: worker, SETTINGS_REV_HEADER: settings_rev}
        self._pending: deque[bytes] = deque()
        self._written = self._confirmed = 0
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._due = asyncio.Event()
        self._read_up = asyncio.Event()
        self._news = asyncio.Event()
        self._times_read_up = 0
        self._next_offset: int | None = None
        self._behind = False
        self.available = False

    def write(self, record: Record) -> None:
        """Hands over a record; `confirmed` waits for it."""
        if not self.available:
            return
        if len(self._pending) >= MOST_PENDING:
            # The broker has confirmed nothing for long; what is lost is history, not mail.
            self._pending.popleft()
            self._confirmed += 1
        self._pending.append(record.line())
        self._written += 1
        self._due.set()

    def settings_changed(self, rev: str) -> None:
        """From now on `rev` is in force; said at once, so that whoever asks need not wait for the next mail."""
        self._headers[SETTINGS_REV_HEADER] = rev
        self.write(Record(at=rfc3339(datetime.now(UTC)), what=What.RELOADED))

    async def confirmed(self) -> bool:
        """Waits until all that was handed over is confirmed, five seconds at most. Returns whether it is.

        Once that was too long, nobody waits until the broker confirms again.
        """
        if self._confirmed >= self._written or self._behind:
            return not self._behind
        done = asyncio.get_running_loop().create_future()
        self._waiting[done] = self._written
        await asyncio.wait({done}, timeout=CONFIRM_SECONDS)
        self._waiting.pop(done, None)
        if not done.done():
            self._fall_behind()
        return done.done()

    async def recall(self, run: str, mails: Collection[str]) -> None:
        """Holds a redelivery that is unknown here until its record may have come from another worker.

        Returns at once where there is no journal, or when all there is to know is known.
        """
        begun = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_BACK_SECONDS):
                await self._read_up.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(begun + HOLD_SECONDS):
                while self.available and not self._knows(run, mails):
                    await self._news.wait()

    def _knows(self, run: str, mails: Collection[str]) -> bool:
        return self._runs.heard_of(run) or (bool(mails) and self._recent.all_delivered(mails))

    async def run_writing(self) -> None:
        """Writes what is handed over, group by group, until cancelled."""
        while True:
            await self._due.wait()
            group = [self._pending.popleft() for _ in range(min(len(self._pending), MOST_LINES))]
            if not self._pending:
                self._due.clear()
            await self._publish_until_confirmed(group)
            await asyncio.sleep(GATHER_SECONDS)

    async def run_reading(self) -> None:
        """Reads along, over one connection after the other, until cancelled."""
        wait, failures = AGAIN_SECONDS, 0
        while True:
            times = self._times_read_up
            try:
                await self._read_over_one_connection()
            except JournalMissingError as error:
                self._do_without(str(error))
                wait = MISSING_SECONDS
            except (*BROKER_ERRORS, BrokerRefusedError) as error:
                wait = AGAIN_SECONDS if self._times_read_up > times else min(wait * 2, MISSING_SECONDS)
                log.warning("reading the journal broke off", action=Action.JOURNAL, error=in_words(error))
                failures += 1
                if failures == PATIENCE and not self._times_read_up:
                    self._do_without(in_words(error))
            await asyncio.sleep(wait)

    def _do_without(self, why: str) -> None:
        self.available = False
        self._read_up.set()
        log.warning(
            "there is no journal: what was sent before a restart, or by other workers, is not known and may be "
            "sent twice; whereis and restore have nothing to go by",
            action=Action.JOURNAL,
            why=why,
        )

    async def read_up(self) -> None:
        """Returns when the last hours of the journal are read, or there is none; a minute at most."""
        try:
            async with asyncio.timeout(READ_BACK_SECONDS * PATIENCE):
                await self._read_up.wait()
        except TimeoutError:
            log.warning(
                "the journal could not be read up in time; what was sent before may not be known",
                action=Action.WARN,
                mails=len(self._recent),
            )

    async def _publish_until_confirmed(self, group: list[bytes]) -> None:
        message = aio_pika.Message(
            b"\n".join(group),
            content_type=CONTENT_TYPE,
            headers=dict(self._headers),
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        while True:
            try:
                await self._publish("", self._stream, message)
            except (BrokerUnavailableError, BrokerRefusedError):
                self._fall_behind()
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return self._confirm(len(group))

    def _confirm(self, count: int) -> None:
        self._confirmed += count
        if self._behind:
            self._behind = False
            log.info("the journal confirms again", action=Action.JOURNAL)
        for done in [done for done, number in self._waiting.items() if number <= self._confirmed]:
            done.set_result(None)
            del self._waiting[done]

    def _fall_behind(self) -> None:
        if not self._behind:
            self._behind = True
            log.warning(
                "the journal does not confirm; deliveries are acknowledged without it", action=Action.JOURNAL
            )

    async def _read_over_one_connection(self) -> None:
        connection = await self._connect()
        try:
            lost = end_of(connection)
            await unless_lost(lost, self._read_over(connection, lost))
        finally:
            self._read_up.clear()
            await hang_up(connection)

    async def _read_over(self, connection: AbstractConnection, lost: asyncio.Future[str]) -> None:
        channel = await connection.channel()
        await watch(channel, lost)
        await channel.set_qos(prefetch_count=READ_AHEAD)
        stream = await channel.get_queue(self._stream, ensure=False)
        mark = rfc3339(datetime.now(UTC))
        await stream.consume(partial(self._read, mark), arguments={"x-stream-offset": self._offset()})
        self.available = True
        self.write(Record(at=mark, what=What.STARTED))
        await self._until_marked()
        raise ConnectionError(await lost)

    async def _until_marked(self) -> None:
        """Returns when the mark was read. Begins anew where nothing comes: the stream may be a new one."""
        while not self._read_up.is_set():
            before = self._next_offset
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_BACK_SECONDS):
                    await self._read_up.wait()
            if not self._read_up.is_set() and self._next_offset == before and not self._behind:
                self._next_offset = None
                raise ConnectionError("the journal's mark did not come")

    def _offset(self) -> int | datetime:
        return datetime.now(UTC) - READ_BACK if self._next_offset is None else self._next_offset

    async def _read(self, mark: str, message: AbstractIncomingMessage) -> None:
        own = message.headers.get(WORKER_HEADER) == self._headers[WORKER_HEADER]
        for record in map(_parsed, message.body.splitlines()):
            if own and record.get("at") == mark and record.get("what") == What.STARTED:
                self._times_read_up += 1
                self._read_up.set()
            elif not (own and self._read_up.is_set()):
                self._remember(record)
        offset = message.headers.get("x-stream-offset")
        if isinstance(offset, int):
            self._next_offset = offset + 1
        self._news.set()
        self._news = asyncio.Event()
        if (message.delivery_tag or 0) % ACKED_AT_ONCE == 0:
            await message.ack(multiple=True)

    def _remember(self, record: dict[str, Any]) -> None:
        match record:
            case {"what": What.DELIVERED, "mail": str(mail)}:
                self._recent.delivered(mail)
        if isinstance(run := record.get("run"), str):
            self._runs.settled_elsewhere(run)


def _parsed(line: bytes) -> dict[str, Any]:
    """A line's fields, not validated, since there are many; none for one that is no record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
