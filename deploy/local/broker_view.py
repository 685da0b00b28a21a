"""The demo's side of the broker: publishing as a CMS should, and looking at queues without taking from them."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aio_pika
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel

from contracts.topology import (
    DEAD_QUEUES,
    RETRY_TIERS,
    Lane,
    dead_queue,
    events_exchange,
    retry_tier,
    work_queue,
)


@dataclass(frozen=True, slots=True)
class Look:
    """A message that was looked at and left where it is."""

    queue: str
    headers: Mapping[str, Any]
    body: bytes


class BrokerView:
    """A channel at which a publish returns only when the broker has taken the message and routed it."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str) -> AsyncIterator[Self]:
        """A view of the broker at `url`."""
        async with await aio_pika.connect(url) as connection:
            yield cls(await connection.channel(publisher_confirms=True, on_return_raises=True))

    async def publish(self, prefix: str, key: str, event_id: str, body: bytes) -> None:
        """Publish an event in structured mode.

        Raises aio_pika's DeliveryError where the broker refuses it, or has no queue for it.
        """
        message = Message(
            body,
            content_type="application/cloudevents+json",
            message_id=event_id,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        exchange = await self._channel.get_exchange(events_exchange(prefix), ensure=False)
        await exchange.publish(message, key, mandatory=True)

    async def count(self, queues: Iterable[str]) -> dict[str, int]:
        """How many messages wait in each of the queues."""
        return {queue: await self._count(queue) for queue in queues}

    async def look(self, queues: Iterable[str]) -> list[Look]:
        """Every message of the queues. All return to their places, one by one and in order."""
        return [message for queue in queues for message in await self._look(queue)]

    async def _count(self, queue: str) -> int:
        declared = await self._channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def _look(self, name: str) -> list[Look]:
        queue = await self._channel.get_queue(name, ensure=False)
        taken = []
        while message := await queue.get(fail=False):
            taken.append(message)
        for message in taken:
            await message.reject(requeue=True)
        return [Look(name, dict(message.headers), message.body) for message in taken]


def dead_queues(prefix: str) -> list[str]:
    """The queues that dead letters end in."""
    return [dead_queue(name, prefix) for name in (*DEAD_QUEUES, "unroutable")]


def unfinished_queues(prefix: str) -> list[str]:
    """The queues in which events wait for a worker."""
    return [*(work_queue(lane, prefix) for lane in Lane), *(retry_tier(tier, prefix) for tier in RETRY_TIERS)]
