"""A stream of the broker, read from a place to its end: fast, leaving no trace, and with an end that is known.

Over AMQP 0-9-1 nothing marks the end of a stream. A channel answers what it is asked only after it has sent
whatever it had to deliver: when everything is acknowledged, and a question is answered with nothing before it,
there is nothing more. Where the last messages begin is asked for first, so that this cannot be too early.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import AbstractChannel as Underlay
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from worker.broker import BrokerRefusedError, end_of, unless_lost

OFFSET: Final = "x-stream-offset"
MOST_AT_ONCE: Final = 1_000
"""Messages that are under way: each question costs a round trip, each message memory."""

NOTHING_CAME_SECONDS: Final = 0.02
PATIENCE_SECONDS: Final = 20.0

Start = Literal["first", "last"] | datetime
"""Where reading begins: the oldest message, the last group that the broker wrote, or a time, aware."""


class StreamMissingError(Exception):
    """There is no such stream; the text says what there is."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of a stream."""

    offset: int
    headers: Mapping[str, Any]
    body: bytes


async def pieces(
    connection: AbstractConnection,
    stream: str,
    start: Start = "first",
    *,
    at_once: int = MOST_AT_ONCE,
    progress: Callable[[float], None] = lambda _share: None,
) -> AsyncIterator[list[Piece]]:
    """Every message from `start` to the end of `stream`, in groups of at most `at_once`.

    A time may bring some from before it. `progress` is told the share that was read, from 0 to 1. Raises
    StreamMissingError, BrokerRefusedError without permission to read it, and one of BROKER_ERRORS where the
    broker goes away or delivers nothing more before the end.
    """
    lost = end_of(connection)
    last = await unless_lost(lost, _last_group(connection, stream))
    if last is None:
        return
    tap = await unless_lost(lost, _opened(connection, stream, start, at_once))
    first, reached, idle_seconds = -1, -1, 0.0
    while idle_seconds < PATIENCE_SECONDS:
        group = await unless_lost(lost, tap.next_group())
        if group:
            first = group[0].offset if first < 0 else first
            reached, idle_seconds = group[-1].offset, 0.0
            progress(min((reached - first + 1) / (max(last, reached) - first + 1), 1.0))
            yield group
        elif reached >= last or (reached < 0 and isinstance(start, datetime)):
            break
        else:
            idle_seconds += NOTHING_CAME_SECONDS
            await asyncio.sleep(NOTHING_CAME_SECONDS)
    else:
        raise TimeoutError(f"the broker stopped delivering {stream}")
    await unless_lost(lost, tap.close())


@dataclass(slots=True)
class _Tap:
    """A consumer of a stream on a channel of its own."""

    stream: str
    channel: AbstractChannel
    underlay: Underlay
    taken: list[DeliveredMessage] = field(default_factory=list)

    async def take(self, message: DeliveredMessage) -> None:
        self.taken.append(message)

    async def next_group(self) -> list[Piece]:
        """What has come; nothing means that nothing was there to be sent. The broker may send the next."""
        await self.underlay.queue_declare(self.stream, passive=True)
        taken, self.taken = self.taken, []
        group = [self._piece(message) for message in taken]
        if taken:
            await self.underlay.basic_ack(taken[-1].delivery_tag or 0, multiple=True)
        return group

    async def close(self) -> None:
        await self.channel.close()

    def _piece(self, message: DeliveredMessage) -> Piece:
        headers = message.header.properties.headers or {}
        offset = headers.get(OFFSET)
        if not isinstance(offset, int):
            # Acknowledged, it would be gone; the channel's end gives it back.
            raise StreamMissingError(f"{self.stream} is a queue, not a stream.")
        return Piece(offset, headers, message.body)


async def _last_group(connection: AbstractConnection, stream: str) -> int | None:
    """The offset where the last group of messages begins; None where the stream is empty."""
    tap = await _opened(connection, stream, "last", 1)
    group = await tap.next_group()
    await tap.close()
    return group[0].offset if group else None


async def _opened(connection: AbstractConnection, stream: str, start: Start, at_once: int) -> _Tap:
    channel = await connection.channel()
    tap = _Tap(stream, channel, await channel.get_underlay_channel())
    try:
        await tap.underlay.basic_qos(prefetch_count=at_once)
        await tap.underlay.basic_consume(stream, tap.take, arguments={OFFSET: start})
    except ChannelNotFoundEntity:
        raise StreamMissingError(f"There is no stream {stream} at this broker.") from None
    except ChannelPreconditionFailed as error:
        raise StreamMissingError(f"{stream} is a queue, not a stream ({error}).") from None
    except ChannelAccessRefused as error:
        raise BrokerRefusedError(
            f"The broker does not let this user read {stream} ({error}): use the worker's own user."
        ) from None
    return tap
