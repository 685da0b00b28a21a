"""The two lanes of work, consumed over one connection; every delivery runs in a task of our own.

A handler that runs in the client's callback is cancelled when the connection drops, in the middle of a mail.
Ours go on: their acks fail, the broker delivers again, and what was sent by then is known. A connection,
channel or consumer that ends for whatever reason is answered in one way: everything anew over a new connection.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

from contracts.signals import Action
from contracts.topology import Lane, work_queue
from worker import metrics
from worker.broker import (
    BROKER_ERRORS,
    end_of,
    hang_up,
    in_words,
    lose,
    naming_the_nameless,
    unless_lost,
    watch,
)
from worker.delivery import Delivery
from worker.errors import kind_and_place

RECONNECT_SECONDS: Final = 0.5
WATCH_SECONDS: Final = 10.0
SILENT_LOOKS: Final = 2
CANCEL_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 1.5
HARMED_SECONDS: Final = 1.0

log = structlog.get_logger()


class Pause(Enum):
    """Why nothing new is taken."""

    OUTAGE = auto()
    SUSPECT = auto()
    DRAIN = auto()


@dataclass(frozen=True, slots=True)
class Flow:
    """How consuming goes, in monotonic seconds.

    `connected_since` is None without a connection. `rounds` counts the connections in a row that led to no
    consumer, `silences` how often in a row messages waited and none arrived. `moved_at` is when something last
    arrived, ended, or began to be consumed.
    """

    connected_since: float | None
    consuming: bool
    pauses: frozenset[Pause]
    rounds: int
    silences: int
    in_work: Mapping[Lane, int]
    prefetch: Mapping[Lane, int]
    moved_at: float


_Consumer = tuple[Lane, AbstractQueue, Callable[[AbstractIncomingMessage], Awaitable[None]]]


class Silence:
    """Messages wait, there is room, and none arrives, at several looks in a row."""

    def __init__(self) -> None:
        self._looks: dict[Lane, tuple[int, int]] = {}

    def at(self, lane: Lane, arrived: int, waiting: int) -> bool:
        """Whether that is so. `arrived` counts all that ever did, `waiting` those that there is room for."""
        before, times = self._looks.get(lane, (-1, 0))
        times = times + 1 if waiting and arrived == before else 0
        self._looks[lane] = arrived, times
        return times >= SILENT_LOOKS


class Consumers:
    """Hands deliveries of both lanes to `process`; `prefetch` bounds how many of each lane are in work.

    Every `watch_seconds` it is looked whether messages wait that do not arrive, and `tend` is done with the
    connection.
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[AbstractConnection]],
        prefix: str,
        prefetch: Mapping[Lane, int],
        process: Callable[[Delivery], Awaitable[None]],
        tend: Callable[[AbstractConnection], Awaitable[None]] | None = None,
        watch_seconds: float = WATCH_SECONDS,
    ) -> None:
        self._connect = connect
        self._prefix = prefix
        self._prefetch = prefetch
        self._process = process
        self._tend = tend
        self._watch_seconds = watch_seconds
        self._in_work: dict[asyncio.Task[None], Lane] = {}
        self._arrived = dict.fromkeys(Lane, 0)
        self._pauses: set[Pause] = set()
        self._was_ready = False
        self._outdated = False
        self._connected_since: float | None = None
        self._consuming = False
        self._rounds = self._silences = 0
        self._moved_at = time.monotonic()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def flow(self) -> Flow:
        """How consuming goes now."""
        lanes = list(self._in_work.values())
        return Flow(
            connected_since=self._connected_since,
            consuming=self._consuming,
            pauses=frozenset(self._pauses),
            rounds=self._rounds,
            silences=self._silences,
            in_work={lane: lanes.count(lane) for lane in Lane},
            prefetch=self._prefetch,
            moved_at=self._moved_at,
        )

    async def run(self) -> None:
        """Consumes, over one connection after the other, until cancelled."""
        while True:
            self._rounds += 1
            try:
                await self._serve_one_connection()
            except BROKER_ERRORS as error:
                log.warning(
                    "consuming broke off; connecting again",
                    action=Action.BROKER_LOST,
                    error=in_words(error),
                )
            await asyncio.sleep(RECONNECT_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    def pause(self, why: Pause) -> None:
        """Takes nothing new until `resume`; what is in work goes on."""
        self._pauses.add(why)
        self._changed.set()

    def resume(self, why: Pause) -> None:
        """Takes deliveries again, unless there is another reason not to."""
        self._pauses.discard(why)
        self._changed.set()

    def change_prefetch(self, prefetch: Mapping[Lane, int]) -> None:
        """Other bounds from now on: consumption begins anew at the broker, and what is in work goes on."""
        self._outdated = self._outdated or dict(prefetch) != dict(self._prefetch)
        self._prefetch = prefetch
        self._changed.set()

    async def paused(self) -> None:
        """Returns when a pause has begun at the broker, and all that was taken before is in work."""
        await self._idle.wait()

    async def drain(self, seconds: float) -> int:
        """Takes nothing new and waits `seconds` for what is in work. Returns how many had to be cut off.

        What is cut off has a moment to settle what is known of it.
        """
        self.pause(Pause.DRAIN)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, CANCEL_SECONDS)):
                await self.paused()
        await _wait_for(set(self._in_work), seconds)
        cut_off = set(self._in_work)
        for task in cut_off:
            task.cancel()
        await _wait_for(cut_off, SETTLE_SECONDS)
        return len(cut_off)

    async def _serve_one_connection(self) -> None:
        connection = await self._connect()
        self._connected_since = time.monotonic()
        try:
            await self._serve(connection)
        finally:
            self._connected_since, self._consuming = None, False
            metrics.work_depth.set({})
            self._idle.set()
            await hang_up(connection)

    async def _serve(self, connection: AbstractConnection) -> None:
        lost = end_of(connection)
        watchdog = asyncio.create_task(self._watch_for_silence(connection, lost))
        try:
            await unless_lost(lost, self._take(connection, lost))
        finally:
            watchdog.cancel()

    async def _take(self, connection: AbstractConnection, lost: asyncio.Future[str]) -> None:
        """Consumes while there is no reason for a pause."""
        lanes = [await self._opened(connection, lane, lost) for lane in Lane]
        self._say_ready()
        consuming: list[tuple[AbstractQueue, str]] = []
        while True:
            self._changed.clear()
            if consuming and (self._pauses or self._outdated):
                for queue, tag in consuming:
                    await queue.cancel(tag, timeout=CANCEL_SECONDS)
                consuming = []
                self._idle.set()
            if not self._pauses and not consuming:
                self._idle.clear()
                self._outdated = False
                consuming = [await self._begun(consumer) for consumer in lanes]
                self._moved_at = time.monotonic()
            self._consuming, self._rounds = bool(consuming), 0
            await self._changed.wait()

    async def _begun(self, consumer: _Consumer) -> tuple[AbstractQueue, str]:
        lane, queue, receive = consumer
        # A consumer has the bound that its channel has when it begins.
        await queue.channel.set_qos(prefetch_count=self._prefetch[lane])
        return queue, await queue.consume(receive)

    async def _opened(self, connection: AbstractConnection, lane: Lane, lost: asyncio.Future[str]) -> _Consumer:
        channel = await connection.channel()
        await watch(channel, lost)
        name = work_queue(lane, self._prefix)

        async def receive(message: AbstractIncomingMessage) -> None:
            self._start(Delivery(lane, name, message))

        return lane, await channel.get_queue(name, ensure=False), receive

    def _say_ready(self) -> None:
        if self._was_ready:
            log.info("consuming again", action=Action.BROKER_BACK)
        else:
            log.info("consuming", action=Action.READY)
        self._was_ready = True

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._handle(delivery))
        self._in_work[task] = delivery.lane
        self._arrived[delivery.lane] += 1
        self._moved_at, self._silences = time.monotonic(), 0
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._in_work[task]
        self._moved_at = time.monotonic()

    async def _watch_for_silence(self, connection: AbstractConnection, lost: asyncio.Future[str]) -> None:
        """A consumer that is gone without a word is found out, and everything opened anew."""
        silence = Silence()
        try:
            with naming_the_nameless():
                channel = await connection.channel()
            while True:
                await asyncio.sleep(self._watch_seconds)
                depths = await self._depths(channel)
                metrics.work_depth.set({(lane,): waiting for lane, waiting in depths.items()})
                for lane, waiting in depths.items():
                    if silence.at(lane, self._arrived[lane], waiting if self._has_room(lane) else 0):
                        self._silences += 1
                        lose(lost, f"{waiting} messages wait in the {lane} lane and none arrives")
                if self._tend:
                    await self._tend(connection)
        except BROKER_ERRORS as error:
            lose(lost, f"the watchdog got no answer: {type(error).__name__}")

    async def _depths(self, channel: AbstractChannel) -> dict[Lane, int]:
        """How many messages wait in each lane."""
        depths = {}
        for lane in Lane:
            name = work_queue(lane, self._prefix)
            declared = await channel.declare_queue(name, passive=True, timeout=CANCEL_SECONDS)
            depths[lane] = declared.declaration_result.message_count or 0
        return depths

    def _has_room(self, lane: Lane) -> bool:
        in_work = sum(1 for of in self._in_work.values() if of is lane)
        return not self._pauses and in_work < self._prefetch[lane]

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._process(delivery)
        except Exception as bug:  # noqa: BLE001 - a bug in settling must not keep a delivery for ever
            log.error("settling failed; the delivery goes back", action=Action.WARN, error=kind_and_place(bug))
            await asyncio.sleep(HARMED_SECONDS)
            await delivery.reject()


async def _wait_for(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
