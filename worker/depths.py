"""What queues hold, and who consumes them; asking changes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelNotFoundEntity


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages are ready to be handed out, and how many consumers there are."""

    messages: int
    consumers: int


async def depths(connection: AbstractConnection, queues: Iterable[str]) -> dict[str, Depth]:
    """The depth of each of `queues` that is there and may be asked. Raises one of BROKER_ERRORS."""
    asked = {queue: await _depth(connection, queue) for queue in queues}
    return {queue: depth for queue, depth in asked.items() if depth}


async def _depth(connection: AbstractConnection, queue: str) -> Depth | None:
    channel = await connection.channel()
    try:
        declared = (await channel.declare_queue(queue, passive=True)).declaration_result
    except (ChannelNotFoundEntity, ChannelAccessRefused, ChannelLockedResource):
        return None
    await channel.close()
    return Depth(declared.message_count or 0, declared.consumer_count or 0)
