"""Letters taken out of a dead queue, some for good; the others are back exactly as they were.

A quorum queue keeps its order only if everything is held by one consumer and comes back at once: RabbitMQ 3.10
returns what is given back together in an arbitrary order beyond 32 messages, but what a channel held when it
ends in the order it was delivered. So all of a queue is taken, the chosen letters are acknowledged, and the
channel is closed. Whoever is killed in between has closed it too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelNotFoundEntity

from contracts.topology import DEAD_QUEUES, dead_queue
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
    name = f"{prefix}.desk"
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
    try:
        chosen: list[Held] = []
        for queue in queues:
            chosen += await _taken(channel, queue, wanted)
        yield chosen
    except (ChannelNotFoundEntity, ChannelAccessRefused) as error:
        raise BrokerRefusedError(f"The dead letters cannot be read: {error}. Has a worker run here?") from None
    finally:
        with suppress(*BROKER_ERRORS):
            await channel.close()


async def _taken(channel: AbstractChannel, name: str, wanted: Callable[[Letter], bool]) -> list[Held]:
    queue = await channel.declare_queue(name, passive=True)
    count = min(queue.declaration_result.message_count or 0, MOST_HELD)
    if not count:
        return []
    chosen: list[Held] = []
    seen, arrived = 0, asyncio.Event()

    async def receive(message: AbstractIncomingMessage) -> None:
        nonlocal seen
        seen += 1
        # What died after the beginning is held too, so that it comes back behind the others; it is not meant.
        if seen <= count and wanted(letter := Letter.of(message, name)):
            chosen.append(Held(letter, message))
        arrived.set()

    await channel.set_qos(prefetch_count=MOST_HELD)
    await queue.consume(receive)
    with suppress(TimeoutError):
        while seen < count:
            async with asyncio.timeout(SILENCE_SECONDS):
                await arrived.wait()
            arrived.clear()
    return chosen


async def _channel(connection: AbstractConnection) -> AbstractChannel:
    with naming_the_nameless():
        return await connection.channel(publisher_confirms=False)


async def look(connection: AbstractConnection, prefix: str) -> list[Letter]:
    """All letters there are, without their bodies, in the order of their queues."""
    async with held(connection, dead_queues(prefix), lambda _letter: True) as everything:
        return [one.letter.without_body() for one in everything]
