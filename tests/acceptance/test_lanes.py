"""A password reset never waits behind other mail."""

import asyncio

from contracts.topology import Lane, work_queue
from tests.acceptance.conftest import World
from tests.support.amqp import depth
from tests.support.examples import PASSWORD_RESET, SYSTEM, fresh_example

FLOOD = 5_000


async def test_a_reset_behind_5000_standard_events_is_delivered_while_most_still_wait(world: World) -> None:
    """The urgent lane has its own queue, its own prefetch, and the next free session."""
    events = [fresh_example(SYSTEM) for _ in range(FLOOD)]
    for start in range(0, FLOOD, 500):
        await asyncio.gather(*(world.publish(event) for event in events[start : start + 500]))
    worker = await world.worker()
    await world.smtp.until_accepted(50)
    await world.publish(fresh_example(PASSWORD_RESET))
    await worker.until_said(lane="urgent", outcome="delivered")
    waiting = await depth(world.channel, work_queue(Lane.STANDARD, world.prefix))
    assert waiting > FLOOD // 2
