"""The two lanes of work, consumed over one connection; every delivery runs in a task of our own.

A handler that runs in the client's callback is cancelled when the connection drops, in the middle of a mail.
Ours go on: their acks fail, the broker delivers again, and what was sent by then is known. A connection,
channel or consumer that ends for whatever reason is answered in one way: everything anew over a new connection.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, AbstractQueue

from contracts.signals import Action
from contracts.topology import Lane, work_queue
from worker.broker import BROKER_ERRORS, end_of, hang_up, watch
from worker.delivery import Delivery
from worker.errors import kind_and_place

RECONNECT_SECONDS: Final = 0.5
CANCEL_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 1.5
HARMED_SECONDS: Final = 1.0

log = structlog.get_logger()


class Pause(Enum):
    """Why nothing new is taken."""

    OUTAGE = auto()
    SUSPECT = auto()
    DRAIN = auto()


class Consumers:
    """Hands deliveries of both lanes to `process`; `prefetch` bounds how many of each lane are in work."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[AbstractConnection]],
        prefix: str,
        prefetch: Mapping[Lane, int],
        process: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        self._connect = connect
        self._prefix = prefix
        self._prefetch = prefetch
        self._process = process
        self._in_work: set[asyncio.Task[None]] = set()
        self._pauses: set[Pause] = set()
        self._was_ready = False
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Consumes, over one connection after the other, until cancelled."""
        while True:
            try:
                await self._serve_one_connection()
            except BROKER_ERRORS as error:
                log.warning(
                    "consuming broke off; connecting again",
                    action=Action.BROKER_LOST,
                    error=f"{type(error).__name__}: {error}",
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

    async def paused(self) -> None:
        """Returns when a pause has begun at the broker, and all that was taken before is in work."""
        await self._idle.wait()

    async def drain(self, seconds: float) -> int:
        """Takes nothing new and waits `seconds` for what is in work. Returns how many had to be cut off.

        What is cut off has a moment to settle what is known of it.
        """
        self.pause(Pause.DRAIN)
        await _wait_for(self._in_work, seconds)
        cut_off = set(self._in_work)
        for task in cut_off:
            task.cancel()
        await _wait_for(cut_off, SETTLE_SECONDS)
        return len(cut_off)

    async def _serve_one_connection(self) -> None:
        connection = await self._connect()
        try:
            await self._serve(connection)
        finally:
            self._idle.set()
            await hang_up(connection)

    async def _serve(self, connection: AbstractConnection) -> None:
        lost = end_of(connection)
        lanes = [await self._opened(connection, lane, lost) for lane in Lane]
        self._say_ready()
        consuming: list[tuple[AbstractQueue, str]] = []
        while True:
            self._changed.clear()
            if not self._pauses and not consuming:
                self._idle.clear()
                consuming = [(queue, await queue.consume(receive)) for queue, receive in lanes]
            elif self._pauses and consuming:
                for queue, tag in consuming:
                    await queue.cancel(tag, timeout=CANCEL_SECONDS)
                consuming = []
                self._idle.set()
            await _changed_or_lost(self._changed, lost)

    async def _opened(
        self, connection: AbstractConnection, lane: Lane, lost: asyncio.Future[str]
    ) -> tuple[AbstractQueue, Callable[[AbstractIncomingMessage], Awaitable[None]]]:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=self._prefetch[lane])
        await watch(channel, lost)
        name = work_queue(lane, self._prefix)

        async def receive(message: AbstractIncomingMessage) -> None:
            self._start(Delivery(lane, name, message))

        return await channel.get_queue(name, ensure=False), receive

    def _say_ready(self) -> None:
        if self._was_ready:
            log.info("consuming again", action=Action.BROKER_BACK)
        else:
            log.info("consuming", action=Action.READY)
        self._was_ready = True

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._handle(delivery))
        self._in_work.add(task)
        task.add_done_callback(self._in_work.discard)

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


async def _changed_or_lost(changed: asyncio.Event, lost: asyncio.Future[str]) -> None:
    """Returns when `changed` is set. Raises ConnectionError as soon as everything is `lost`."""
    waiting = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait((waiting, lost), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if lost.done():
        raise ConnectionError(lost.result())
