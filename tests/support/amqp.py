"""What broker tests do again and again: publish, take a message, count."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from contracts.topology import Lane, events_exchange, topology, work_queue
from worker.broker import connect
from worker.declare import declare
from worker.delivery import Delivery

WAIT_SECONDS = 20.0


@asynccontextmanager
async def declared(url: str, prefix: str) -> AsyncIterator[AbstractChannel]:
    """A channel to a broker on which the topology of `prefix` is declared."""
    connection = await connect(url, "test")
    async with connection:
        await declare(connection, topology(prefix))
        yield await connection.channel(on_return_raises=True)


async def publish(
    channel: AbstractChannel,
    prefix: str,
    key: str,
    body: bytes = b"{}",
    headers: Mapping[str, Any] | None = None,
    **properties: Any,
) -> None:
    """Publishes to the events exchange as a publisher does, confirmed."""
    properties.setdefault("content_type", "application/cloudevents+json")
    message = aio_pika.Message(
        body, headers=dict(headers or {}), delivery_mode=aio_pika.DeliveryMode.PERSISTENT, **properties
    )
    exchange = await channel.get_exchange(events_exchange(prefix), ensure=False)
    await exchange.publish(message, key, timeout=WAIT_SECONDS)


async def take(channel: AbstractChannel, queue: str) -> AbstractIncomingMessage:
    """The next message of `queue`, waited for; not acknowledged."""
    source = await channel.get_queue(queue, ensure=False)
    async with asyncio.timeout(WAIT_SECONDS):
        while (message := await source.get(fail=False)) is None:  # noqa: ASYNC110 - a queue has no event
            await asyncio.sleep(0.02)
    return message


async def take_all(channel: AbstractChannel, queue: str) -> list[AbstractIncomingMessage]:
    """Empties `queue`; its messages in order."""
    source = await channel.get_queue(queue, ensure=False)
    taken = []
    while message := await source.get(no_ack=True, fail=False):
        taken.append(message)
    return taken


async def delivery(channel: AbstractChannel, prefix: str, lane: Lane = Lane.STANDARD) -> Delivery:
    """The next delivery of a lane."""
    queue = work_queue(lane, prefix)
    return Delivery(lane, queue, await take(channel, queue))


async def depth(channel: AbstractChannel, queue: str) -> int:
    """How many messages are ready in `queue`."""
    declared_queue = await channel.declare_queue(queue, passive=True)
    return declared_queue.declaration_result.message_count or 0


async def until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Returns when `condition` holds. Raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is watched is another process
            await asyncio.sleep(0.01)
