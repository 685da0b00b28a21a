"""One, two and four workers at the same queues; and workers that are replaced one by one under load."""

import asyncio
import time
from typing import Final

from tests.acceptance.conftest import World
from tests.support.figures import tell
from tests.support.load import addresses, message_to, publish_all, tally, until_sent
from tests.support.scale import cases
from tests.support.worker import Worker

COUNTS: Final = (1, 2, 4)
REPLY_SECONDS: Final = 0.1
"""A server that takes its time, as those on the Internet do: the sessions are the limit, not this machine."""

BATCH: Final = 10
BATCH_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 120


async def test_several_workers_share_the_work_and_send_nothing_twice(world: World) -> None:
    """Each of them sends a part, and the more there are, the sooner it is done."""
    world.smtp.delay("BODY", REPLY_SECONDS)
    rates = {count: await mails_a_second(world, count) for count in COUNTS}
    tell("workers: " + ", ".join(f"{count}: {rate:.0f} mails/s" for count, rate in rates.items()))
    assert rates[4] > rates[1]


async def mails_a_second(world: World, count: int) -> float:
    """How fast so many workers empty the queues; they have ended then, and sent all that was due just once."""
    due = addresses(cases(300, 4_000), f"of-{count}-")
    workers = [await world.worker() for _ in range(count)]
    world.smtp.accepted.clear()
    started = time.monotonic()
    await publish_all(world.channel, world.prefix, map(message_to, due))
    await until_sent(world.smtp, due, PATIENCE_SECONDS)
    rate = len(due) / (world.smtp.accepted[-1].at - started)
    await world.until_unfinished({})
    assert [await worker.stop() for worker in workers] == [0] * count
    assert all(worker.said(outcome="delivered") for worker in workers)
    await assert_each_was_sent_once(world, due)
    return rate


async def test_a_rolling_restart_under_load_loses_and_repeats_nothing(world: World) -> None:
    """As a cluster does it: a new worker consumes before the oldest is told to stop, all of them in turn."""
    world.smtp.delay("BODY", REPLY_SECONDS)
    workers = [await world.worker() for _ in range(2)]
    due: list[str] = []
    over = asyncio.Event()
    load = asyncio.create_task(publish_until(over, world, due))
    codes = [await replaced(world, workers) for _ in range(cases(4, 40))]
    over.set()
    await load
    await until_sent(world.smtp, due, PATIENCE_SECONDS)
    await world.until_unfinished({})
    codes += [await worker.stop() for worker in workers]
    tell(f"rolling restart: {len(codes) - 2} of two workers replaced: {tally(due, world.smtp.accepted)}")
    assert set(codes) == {0}
    await assert_each_was_sent_once(world, due)


async def replaced(world: World, workers: list[Worker]) -> int:
    """The exit code of the oldest of `workers`, once a new one is in its place; mails were sent meanwhile."""
    before = len(world.smtp.accepted)
    workers.append(await world.worker())
    code = await workers.pop(0).stop()
    assert len(world.smtp.accepted) > before
    return code


async def publish_until(over: asyncio.Event, world: World, due: list[str]) -> None:
    """Some events, then some more, with the addresses added to `due`."""
    while not over.is_set():
        some = addresses(BATCH, f"roll-{len(due)}-")
        due += some
        await publish_all(world.channel, world.prefix, map(message_to, some))
        await asyncio.sleep(BATCH_SECONDS)


async def assert_each_was_sent_once(world: World, due: list[str]) -> None:
    """No mail lost, none twice, none left, no dead letter."""
    sent = tally(due, world.smtp.accepted)
    assert sent.is_complete, sent
    assert sent.repeats == ()
    assert await world.unfinished() == {}
    assert await world.dead_letters() == {}
