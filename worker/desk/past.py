"""What the stream of dead letters remembers: also those that are gone, and what was done with them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from secrets import token_hex

from aio_pika.abc import AbstractIncomingMessage

from contracts.topology import DEAD_QUEUES, dead_queue_of, dead_stream
from worker.broker import BROKER_ERRORS
from worker.desk.letter import Letter
from worker.desk.removal import How, Removal
from worker.desk.workplace import Workplace

READ_AHEAD = 2000
ACKED_AT_ONCE = 500
STALLED_SECONDS = 20.0

_CLASSES = frozenset(key.partition(".")[0] for keys in DEAD_QUEUES.values() for key in keys)


class Past:
    """`letters` are the latest copies, by id, in the order they came; `removed` says what was done with some.

    Bodies are kept of those that `keeps_body` says yes to.
    """

    def __init__(self, prefix: str, keeps_body: Callable[[Letter], bool]) -> None:
        self._prefix = prefix
        self._keeps_body = keeps_body
        self.letters: dict[str, Letter] = {}
        self.removed: dict[str, How] = {}

    def add(self, message: AbstractIncomingMessage) -> None:
        """The next message of the stream."""
        if removal := Removal.read(message.headers, message.body):
            self.removed |= dict.fromkeys(removal.ids, removal.how)
            return
        dead_class = (message.routing_key or "").partition(".")[0]
        if dead_class in _CLASSES:
            letter = Letter.of(message, dead_queue_of(dead_class, self._prefix))
            self.letters[letter.id] = letter if self._keeps_body(letter) else letter.without_body()
            self.removed.pop(letter.id, None)


async def past(
    place: Workplace, keeps_body: Callable[[Letter], bool], told: Callable[[int], None] = lambda _count: None
) -> Past:
    """All that the stream has. Raises BrokerUnavailableError; the workplace has to have a journal."""
    found, end = Past(place.prefix, keeps_body), Removal((), How.DISCARDED, by=f"desk/{token_hex(8)}")
    channel = await place.connection.channel()
    await channel.set_qos(prefetch_count=READ_AHEAD)
    stream = await channel.get_queue(dead_stream(place.prefix), ensure=False)
    arrived, count, ended = asyncio.Event(), 0, False

    async def receive(message: AbstractIncomingMessage) -> None:
        nonlocal count, ended
        count += 1
        ended = ended or Removal.read(message.headers, message.body) == end
        found.add(message)
        arrived.set()
        if count % ACKED_AT_ONCE == 0:
            told(count)
            with suppress(*BROKER_ERRORS):
                await message.ack(multiple=True)

    # A note of nothing marks the end; whoever reads the stream passes over it.
    await place.notes.publish("", dead_stream(place.prefix), end.message())
    await stream.consume(receive, arguments={"x-stream-offset": "first"})
    while not ended:
        async with asyncio.timeout(STALLED_SECONDS):
            await arrived.wait()
        arrived.clear()
    await channel.close()
    return found
