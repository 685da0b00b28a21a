"""Letters taken out of a dead queue, some for good; the others are back exactly as they were.

A quorum queue keeps its order only if everything is held by one consumer and comes back at once: RabbitMQ 3.10
returns what is given back together in an arbitrary order beyond 32 messages, but what a channel held when it
ends in the order it was delivered. So all of a queue is taken, the chosen letters are acknowledged, and the
channel is closed. Whoever is killed in between has closed it too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelNotFoundEntity

from contracts.topology import DEAD_QUEUES, dead_queue, desk_lock
from worker.broker import (
    BROKER_ERRORS,
    BrokerRefusedError,
    BrokerUnavailableError,
    connect,
    hang_up,
    in_words,
    naming_the_nameless,
)
from worker.desk.letter import UNROUTABLE, Letter

MOST_HELD: Final = 65_535
"""What one consumer can hold: the largest prefetch there is. With none at all, RabbitMQ stops at 2,000."""

STEADY_SECONDS: Final = 0.03
SILENCE_SECONDS: Final = 3.0
"""Nothing has come for so long: somebody else holds what is missing."""


class DeskTakenError(Exception):
    """Another command changes the dead letters at this moment; two would hide letters from each other."""


@dataclass(frozen=True, slots=True)
class Held:
    """A letter that is held, and the message that gives it up."""

    letter: Letter
    message: AbstractIncomingMessage


def dead_queues(prefix: str) -> tuple[str, ...]:
    """The full names of all queues that the desk works on."""
    return tuple(dead_queue(name, prefix) for name in (*DEAD_QUEUES, UNROUTABLE))


@asynccontextmanager
async def desk(url: str, prefix: str) -> AsyncIterator[AbstractConnection]:
    """A connection of the only command that changes dead letters under `prefix`.

    Raises DeskTakenError, BrokerRefusedError, and BrokerUnavailableError, also where it breaks off inside.
    """
    try:
        connection = await connect(url, "notify-worker/desk")
    except BROKER_ERRORS as error:
        raise BrokerUnavailableError(f"The broker cannot be reached: {in_words(error)}") from error
    try:
        await _lock(connection, prefix)
        yield connection
    except BROKER_ERRORS as error:
        raise BrokerUnavailableError(f"The broker went away: {in_words(error)}") from error
    finally:
        await hang_up(connection)


async def _lock(connection: AbstractConnection, prefix: str) -> None:
    channel = await _channel(connection)
    name = desk_lock(prefix)
    try:
        # It ends with the connection, however that ends.
        await channel.declare_queue(name, exclusive=True, auto_delete=True)
    except ChannelLockedResource:
        raise DeskTakenError(
            f"Another command changes the dead letters at this moment; it holds the queue {name}. "
            "Wait for its end, then do this again."
        ) from None
    except ChannelAccessRefused as error:
        raise BrokerRefusedError(
            f"The broker does not let this user declare the queue {name} ({error}): "
            "give it configure permission."
        ) from None


@asynccontextmanager
async def held(
    connection: AbstractConnection, queues: Sequence[str], wanted: Callable[[Letter], bool]
) -> AsyncIterator[list[Held]]:
    """All that `queues` hold now, of which those letters are given that are `wanted`, in their order.

    What is not acknowledged inside is back in its place afterwards. Raises BrokerRefusedError where a queue is
    missing or may not be read.
    """
    channel = await _channel(connection)
    hands = [_Hands(name, wanted) for name in queues]
    try:
        for hand in hands:
            await hand.take(channel)
        yield [one for hand in hands for one in hand.chosen]
    except (ChannelNotFoundEntity, ChannelAccessRefused) as error:
        raise BrokerRefusedError(
            f"The dead letters cannot be taken: {error}. A worker declares their queues; the user needs read "
            "permission on them, and from RabbitMQ 4.3 on configure as well."
        ) from None
    finally:
        with suppress(*BROKER_ERRORS):
            await channel.close()
    await _until_back(connection, {hand.name: hand.left for hand in hands})


class _Hands:
    """Takes all of one queue."""

    def __init__(self, name: str, wanted: Callable[[Letter], bool]) -> None:
        self.name = name
        self.chosen: list[Held] = []
        self._wanted = wanted
        self._meant = self._seen = 0
        self._arrived = asyncio.Event()

    @property
    def left(self) -> int:
        """How many it will give back."""
        return self._seen - sum(one.message.processed for one in self.chosen)

    async def take(self, channel: AbstractChannel) -> None:
        """Returns when it has all that was there at the beginning."""
        self._meant = min(await _steady_count(channel, self.name), MOST_HELD)
        if not self._meant:
            return
        await channel.set_qos(prefetch_count=MOST_HELD)
        queue = await channel.get_queue(self.name, ensure=False)
        await queue.consume(self._receive)
        with suppress(TimeoutError):
            while self._seen < self._meant:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._arrived.wait()
                self._arrived.clear()

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        self._seen += 1
        # What died after the beginning is held too, so that it comes back behind the others; it is not meant.
        if self._seen <= self._meant and self._wanted(letter := Letter.of(message, self.name)):
            self.chosen.append(Held(letter, message))
        self._arrived.set()


async def _steady_count(channel: AbstractChannel, queue: str) -> int:
    """How many letters are ready, twice in a row: a killed command's may just be coming back."""
    before = -1
    while (count := await _count(channel, queue)) != before:
        before = count
        await asyncio.sleep(STEADY_SECONDS)
    return count


async def _until_back(connection: AbstractConnection, left: Mapping[str, int]) -> None:
    """Returns when the broker shows again what was given back, which takes it a moment; within seconds.

    Whoever took them again at once would find the queue empty.
    """
    channel = await _channel(connection)
    with suppress(TimeoutError):
        async with asyncio.timeout(SILENCE_SECONDS):
            for queue, count in left.items():
                while count and await _count(channel, queue) < count:  # noqa: ASYNC110 - a queue has no event
                    await asyncio.sleep(STEADY_SECONDS)
    await channel.close()


async def _count(channel: AbstractChannel, queue: str) -> int:
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def _channel(connection: AbstractConnection) -> AbstractChannel:
    with naming_the_nameless():
        return await connection.channel(publisher_confirms=False)


async def look(connection: AbstractConnection, prefix: str) -> list[Letter]:
    """All letters there are, without their bodies, in the order of their queues."""
    async with held(connection, dead_queues(prefix), lambda _letter: True) as everything:
        return [one.letter.without_body() for one in everything]
