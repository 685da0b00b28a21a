"""Dead letters that are looked at again and again, as on a management page: nothing may come of it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from contracts.topology import dead_exchange, dead_queue
from tests.acceptance.conftest import World
from tests.support.amqp import depth
from tests.support.figures import tell
from tests.support.scale import cases

LOOKS: Final = 50
GIVEN_BACK_AT_ONCE: Final = 32
"""Of more that are on their way back at a time, RabbitMQ 3.10 turns the order round."""


async def test_looking_at_dead_letters_changes_neither_their_number_nor_their_order(world: World) -> None:
    """Taken one after the other and given back in that order; no delivery limit drops any."""
    letters, looked_at = [b"letter %d" % n for n in range(cases(1_000, 5_000))], cases(100, 5_000)
    await _publish(world, letters)
    for _ in range(LOOKS):
        assert _bodies(await _look(world, looked_at)) == letters[:looked_at]
    seen = await _look(world, len(letters) + 1)
    order = "kept" if _bodies(seen) == letters else "changed"
    tell(
        f"looking {LOOKS} times at {looked_at} of {len(letters)} dead letters: {len(letters) - len(seen)} "
        f"gone, order {order}, delivery count {seen[0].headers.get('x-delivery-count')!r}"
    )
    assert _bodies(seen) == letters


async def _look(world: World, at_most: int) -> list[AbstractIncomingMessage]:
    """The first messages of the queue, which are back in it afterwards."""
    name = dead_queue("config", world.prefix)
    queue = await world.channel.get_queue(name, ensure=False)
    before, seen = await depth(world.channel, name), list[AbstractIncomingMessage]()
    while len(seen) < at_most and (letter := await queue.get(fail=False)):
        seen.append(letter)
    for start in range(0, len(seen), GIVEN_BACK_AT_ONCE):
        for letter in seen[start : start + GIVEN_BACK_AT_ONCE]:
            await letter.nack(requeue=True)
        await _until_back(world, name, before - max(len(seen) - start - GIVEN_BACK_AT_ONCE, 0))
    return seen


async def _until_back(world: World, queue: str, count: int) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            while await depth(world.channel, queue) != count:  # noqa: ASYNC110 - a queue has no event
                await asyncio.sleep(0)
    assert await depth(world.channel, queue) == count, "some did not come back"


async def _publish(world: World, letters: Sequence[bytes]) -> None:
    exchange = await world.channel.get_exchange(dead_exchange(world.prefix), ensure=False)
    for letter in letters:
        message = aio_pika.Message(letter, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await exchange.publish(message, "config.smtp-relay-refused")


def _bodies(letters: Sequence[AbstractIncomingMessage]) -> list[bytes]:
    return [letter.body for letter in letters]
