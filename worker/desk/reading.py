"""All dead letters at the broker, looked at without touching them where there is a stream of copies.

The queues say how many messages they hold, which changes nothing. Where the stream, less its notes of removal,
counts as many, it is right; an empty queue needs no look at all. Only a queue that another tool changed, or
that has messages from before the stream, is peeked in: its messages are taken and given back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from aio_pika.abc import AbstractConnection
from aio_pika.message import IncomingMessage
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from contracts.journal import SETTINGS_REV_HEADER
from contracts.topology import DEAD_QUEUES, dead_queue, dead_stream, journal_stream
from worker.broker import BROKER_ERRORS, BrokerRefusedError, end_of, unless_lost, watch
from worker.desk.account import Account, slim
from worker.desk.letter import UNROUTABLE, Letter
from worker.survey import opened

READ_AHEAD: Final = 2000
ACKED_AT_ONCE: Final = 500
SILENCE_SECONDS: Final = 20.0
"""After so long without a message that has to come, the broker is taken for gone."""

FIRST_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 0.05
"""A chunk of a stream comes in one go: what does not come after it within this time is not there."""

LAST_CHUNK_SECONDS: Final = 0.5
PEEK_QUIET_SECONDS: Final = 1.0
MOST_PEEKED: Final = 65_535
"""As many messages as a channel may hold."""

_AGES_AGO: Final = datetime.min.replace(tzinfo=UTC)
T = TypeVar("T")


class Progress(Protocol):
    """Told how far the look is."""

    def __call__(self, done: int, total: int, /) -> None:
        """Of `total` messages, `done` were read."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages of a queue wait, and how many consumers it has; None where this user may not see it."""

    messages: int | None
    consumers: int = 0

    @property
    def nobody_there(self) -> bool:
        """Whether there is nothing to see in it."""
        return self.messages == 0 and not self.consumers


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found, the oldest letter first.

    `peeked` maps queues that had to be peeked in to the number of messages that were held meanwhile; `busy` are
    those that somebody else reads. `settings_rev` is the revision that the workers run with, empty where no
    journal says so. `streamless` says that there is no stream of copies.
    """

    letters: tuple[Letter, ...]
    settings_rev: str = ""
    peeked: dict[str, int] = field(default_factory=dict)
    busy: tuple[str, ...] = ()
    streamless: bool = False


def silent(_done: int, _total: int) -> None:
    """No progress is shown."""


async def look(
    url: str,
    prefix: str,
    *,
    keeps_body: Callable[[Letter], bool] = lambda _letter: False,
    progress: Progress = silent,
) -> Looked:
    """All dead letters under `prefix` at the broker `url`; bodies stay empty unless `keeps_body` wants them.

    Raises BrokerUnavailableError and BrokerRefusedError.
    """
    async with opened(url, "desk") as connection:
        return await _Look(connection, prefix, keeps_body, progress).all()


class _Look:
    """One look over one connection."""

    def __init__(
        self,
        connection: AbstractConnection,
        prefix: str,
        keeps_body: Callable[[Letter], bool],
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._keeps_body = keeps_body
        self._progress = progress
        self._queues = [dead_queue(name, prefix) for name in (*DEAD_QUEUES, UNROUTABLE)]
        self._account = Account(prefix, keeps_body)
        self._peeked: dict[str, int] = {}
        self._streamless = False

    async def all(self) -> Looked:
        """Depths first, so that whatever is counted has come to the stream by the time that is read."""
        depths = await self._depths()
        revision = await self._revision()
        if not all(depth.nobody_there for depth in depths.values()):
            await self._read_stream()
        letters: list[Letter] = []
        after = await self._depths()
        for queue, depth in depths.items():
            letters += await self._in_queue(queue, (depth, after[queue]))
        return Looked(
            letters=tuple(sorted(letters, key=lambda letter: (letter.died or _AGES_AGO, letter.id))),
            settings_rev=revision,
            peeked=self._peeked,
            busy=tuple(queue for queue, depth in after.items() if depth.consumers),
            streamless=self._streamless,
        )

    async def _in_queue(self, queue: str, depths: tuple[Depth, Depth]) -> list[Letter]:
        before, after = depths
        if after.nobody_there:
            return []
        somebody_holds_some = after.consumers and not self._streamless
        if somebody_holds_some or self._account.count(queue) in {before.messages, after.messages}:
            return self._account.in_queue(queue)
        found = await self._peek(queue, after.messages)
        self._peeked[queue] = len(found)
        return found

    async def _depths(self) -> dict[str, Depth]:
        return {queue: await self._depth(queue) for queue in self._queues}

    async def _depth(self, queue: str) -> Depth:
        channel = await self._connection.channel()
        try:
            raw = await channel.get_underlay_channel()
            said = await unless_lost(end_of(self._connection), raw.queue_declare(queue, passive=True))
        except ChannelNotFoundEntity:
            return Depth(0)
        except ChannelAccessRefused:
            return Depth(None)  # from RabbitMQ 4.3 on that takes the permission to configure
        await channel.close()
        return Depth(said.message_count or 0, said.consumer_count or 0)

    async def _revision(self) -> str:
        """The revision under which a worker wrote to the journal last; empty where none did."""
        stream, back = journal_stream(self._prefix), 1
        newest = await self._newest(stream)
        while newest is not None:
            # The desk writes there too, and says no revision: its groups may be the last thousands.
            last, begin = _offset(newest), max(_offset(newest) - back, 0)
            groups: list[DeliveredMessage] = []
            await self._consume(stream, begin, partial(_up_to, last, groups.append))
            revision = next(filter(None, map(_revision, reversed(groups))), "")
            if revision or begin == 0:
                return revision
            back *= 100
        return ""

    async def _read_stream(self) -> None:
        stream = dead_stream(self._prefix)
        newest = await self._newest(stream)
        if newest is None:
            return
        read = _Progressing(self._progress, _offset(newest), self._account.enter)
        await self._consume(stream, "first", partial(_up_to, _offset(newest), read))

    async def _newest(self, stream: str) -> DeliveredMessage | None:
        """The newest message of a stream; None for an empty one, and where there is none or it is not ours."""
        try:
            return await self._consume(stream, "last", _newest_of_chunk)
        except (ChannelNotFoundEntity, ChannelAccessRefused, ChannelPreconditionFailed):
            self._streamless |= stream == dead_stream(self._prefix)
            return None

    async def _peek(self, queue: str, expected: int | None) -> list[Letter]:
        """The messages of a queue, taken and given back.

        They are given back by closing the channel: the broker returns all at once and in order, as also when
        this process is killed. Returned by the thousand one by one, they change their order.
        """
        most = min(MOST_PEEKED if expected is None else expected, MOST_PEEKED)
        try:
            return await self._consume(queue, None, partial(self._first_of, queue, most))
        except ChannelAccessRefused as error:
            raise BrokerRefusedError(
                f"The broker does not let this user read {queue} ({error}): use the operator's user."
            ) from None

    async def _first_of(
        self, queue: str, most: int, _channel: AbstractChannel, arrived: "asyncio.Queue[DeliveredMessage]"
    ) -> list[Letter]:
        found: list[Letter] = []
        with suppress(TimeoutError):
            while len(found) < most:
                async with asyncio.timeout(PEEK_QUIET_SECONDS):
                    message = await arrived.get()
                letter = Letter.of(IncomingMessage(message, no_ack=True), queue)
                found.append(slim(letter, self._keeps_body))
                if len(found) % ACKED_AT_ONCE == 0:
                    self._progress(len(found), most)
        return found

    async def _consume(
        self,
        queue: str,
        offset: str | int | None,
        use: Callable[[AbstractChannel, "asyncio.Queue[DeliveredMessage]"], Awaitable[T]],
    ) -> T:
        """What `use` makes of a stream's messages from `offset` on, or of a queue's without.

        They come over a channel of its own, which is closed then.
        """
        lost = end_of(self._connection)
        channel = await self._connection.channel()
        await channel.set_qos(prefetch_count=MOST_PEEKED if offset is None else READ_AHEAD)
        await watch(channel, lost)
        arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

        async def arrive(message: DeliveredMessage) -> None:
            arrived.put_nowait(message)

        async def work() -> T:
            # The lower channel: the upper one costs as much again for each message.
            raw = await channel.get_underlay_channel()
            arguments: dict[str, Any] = {} if offset is None else {"x-stream-offset": offset}
            await raw.basic_consume(queue, arrive, arguments=arguments)
            return await use(raw, arrived)

        try:
            return await unless_lost(lost, work())
        finally:
            with suppress(*BROKER_ERRORS):
                await channel.close()


class _Progressing:
    """Enters messages, and tells how far that is on the way to the offset `last`."""

    def __init__(self, progress: Progress, last: int, enter: Callable[[IncomingMessage], None]) -> None:
        self._progress = progress
        self._last = last
        self._enter = enter
        self._begin: int | None = None

    def __call__(self, message: DeliveredMessage) -> None:
        self._enter(IncomingMessage(message, no_ack=True))
        offset = _offset(message)
        self._begin = offset if self._begin is None else self._begin
        if offset % ACKED_AT_ONCE == 0:
            self._progress(offset - self._begin, max(self._last, offset) - self._begin)


async def _up_to(
    last: int,
    enter: Callable[[DeliveredMessage], None],
    channel: AbstractChannel,
    arrived: "asyncio.Queue[DeliveredMessage]",
) -> None:
    """Enters messages until the one with the offset `last` has come, and what has come with it."""
    offset, unacknowledged = -1, 0
    while offset < last or not arrived.empty():
        async with asyncio.timeout(SILENCE_SECONDS):
            message = await arrived.get()
        enter(message)
        offset = _offset(message)
        unacknowledged += 1
        if unacknowledged == ACKED_AT_ONCE:
            await channel.basic_ack(message.delivery_tag or 0, multiple=True)
            unacknowledged = 0


async def _newest_of_chunk(
    _channel: AbstractChannel, arrived: "asyncio.Queue[DeliveredMessage]"
) -> DeliveredMessage | None:
    """The last message of the last chunk, and of what comes right after it."""
    newest = None
    with suppress(TimeoutError):
        async with asyncio.timeout(FIRST_SECONDS):
            newest = await arrived.get()
        async with asyncio.timeout(LAST_CHUNK_SECONDS):
            while True:
                async with asyncio.timeout(QUIET_SECONDS):
                    newest = await arrived.get()
    return newest


def _offset(message: DeliveredMessage) -> int:
    offset = (message.header.properties.headers or {}).get("x-stream-offset")
    return offset if isinstance(offset, int) else 0


def _revision(message: DeliveredMessage) -> str:
    revision = (message.header.properties.headers or {}).get(SETTINGS_REV_HEADER)
    return revision if isinstance(revision, str) else ""
