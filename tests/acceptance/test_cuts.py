"""A broker connection cut at random moments, again and again, while events are published and sent.

Each cut comes while mails are on their way to the server, and some are followed by another one while the worker
is connecting again. Some events are put off once by the server, so that their copies pass through a retry tier,
and some are refused, so that they end as dead letters: those copies meet cuts as well.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Final

from contracts.topology import dead_queue
from tests.acceptance.conftest import World
from tests.support.amqp import take_all, until
from tests.support.amqp_proxy import AmqpProxy
from tests.support.figures import tell
from tests.support.load import (
    Tally,
    addresses,
    adopted,
    distances,
    message_to,
    publish_all,
    readers,
    tally,
    until_sent,
    window,
)
from tests.support.scale import cases
from tests.support.worker import Worker

REPLY_SECONDS: Final = 0.03
ONE_OF: Final = 20
ALSO_WHILE_CONNECTING: Final = 0.1
CONNECTING_SECONDS: Final = 0.15

MOST_REPEATS_A_CUT: Final = 32
SECONDS_BEFORE_A_CUT: Final = 1.0
SECONDS_AFTER_A_CUT: Final = 1.0
"""What two workers may send twice: as many mails as one has in work, and none that was accepted long before."""


@dataclass(frozen=True, slots=True)
class Cut:
    """When it was, in monotonic seconds, and how many deliveries it gave back to the broker."""

    at: float
    in_flight: int


@dataclass
class Trial:
    """Workers that each have a proxy before the broker, and the events they get."""

    world: World
    proxies: Sequence[AmqpProxy]
    workers: Sequence[Worker]
    chance: Random
    events: list[str]
    cuts: list[Cut] = field(default_factory=list)
    cuts_while_connecting: int = 0

    def __post_init__(self) -> None:
        self.put_off, self.refused = self.events[::ONE_OF], self.events[ONE_OF // 2 :: ONE_OF]
        for address in self.put_off:
            self.world.smtp.answer("RCPT", "450 4.2.1 later", to=address, times=1)
        for address in self.refused:
            self.world.smtp.answer("RCPT", "550 5.1.1 unknown", to=address)

    @property
    def due(self) -> set[str]:
        """To whom mail has to come."""
        return set(self.events) - set(self.refused)

    async def cut_again_and_again(self, cuts: int) -> None:
        """Publishes an equal part of the events around each cut."""
        for some in _parts(self.events, cuts):
            seen = len(self.world.smtp.accepted)
            publishing = asyncio.create_task(self._publish(some))
            await until(lambda: any(proxy.in_flight for proxy in self.proxies))
            at_once = len(set(some) & self.due - set(self.put_off))
            # The mail that was accepted last still waits for its reply.
            await self.world.smtp.until_accepted(seen + self.chance.randint(1, at_once), within=30)
            proxy = self.chance.choice([proxy for proxy in self.proxies if proxy.in_flight] or self.proxies)
            self.cuts.append(Cut(time.monotonic(), proxy.in_flight))
            await _cut(proxy)
            await publishing
            if self.chance.random() < ALSO_WHILE_CONNECTING:
                await asyncio.sleep(self.chance.uniform(0, CONNECTING_SECONDS))
                self.cuts_while_connecting += 1
                await _cut(proxy)

    async def end(self) -> Tally:
        """Waits until all is sent and the workers have stopped; how it went."""
        await until_sent(self.world.smtp, self.due, 60)
        await self.world.until_unfinished({})
        for worker in self.workers:
            assert await worker.stop() == 0
        assert await self.world.unfinished() == {}
        return tally(self.due, self.world.smtp.accepted)

    async def _publish(self, some: Sequence[str]) -> None:
        await publish_all(self.world.channel, self.world.prefix, map(message_to, some))


async def test_cuts_neither_lose_nor_repeat_a_mail_of_a_living_worker(world: World) -> None:
    """What was in work at a cut is delivered again by the broker, and known."""
    async with AsyncExitStack() as stack:
        trial = await _trial(stack, world, workers=1, events=cases(600, 5_000))
        await trial.cut_again_and_again(cases(30, 1_000))
        sent = await trial.end()
    dead = await _dead(world)
    tell(_told(trial, sent, dead))
    assert sent.is_complete
    assert not sent.repeats
    assert adopted(trial.workers[0])
    assert trial.proxies[0].redelivered
    assert sum(1 for cut in trial.cuts if cut.in_flight) > 0.8 * len(trial.cuts)
    assert dead.keys() == set(trial.refused)


async def test_cuts_beside_another_worker_lose_nothing(world: World) -> None:
    """What one worker had in work comes to the other, which may send what was accepted within the window."""
    async with AsyncExitStack() as stack:
        trial = await _trial(stack, world, workers=2, events=cases(400, 4_000))
        await trial.cut_again_and_again(cases(10, 100))
        sent = await trial.end()
    dead = await _dead(world)
    seconds = distances(sent.repeats, [cut.at for cut in trial.cuts])
    tell(f"{_told(trial, sent, dead)}; those sent twice were first accepted {window(seconds)} from a cut")
    assert sent.is_complete
    assert len(sent.repeats) <= MOST_REPEATS_A_CUT * len(trial.cuts)
    assert all(-SECONDS_BEFORE_A_CUT <= distance <= SECONDS_AFTER_A_CUT for distance in seconds)
    assert dead.keys() == set(trial.refused)


async def test_a_connection_that_falls_silent_is_given_up_and_costs_nothing(world: World) -> None:
    """Nothing says that it has ended; missing heartbeats do, and what was in work is known."""
    due = addresses(200)
    world.smtp.delay("BODY", REPLY_SECONDS)
    async with AmqpProxy(world.url) as proxy:
        worker = await world.worker(NOTIFY_BROKER_URL=f"{proxy.url}?heartbeat=1")
        await publish_all(world.channel, world.prefix, map(message_to, due))
        await world.smtp.until_accepted(50)
        silenced, in_flight = time.monotonic(), proxy.in_flight
        proxy.silence()
        await worker.until_said(action="broker-lost")
        noticed = time.monotonic() - silenced
        await until_sent(world.smtp, due, 30)
        await world.until_unfinished({})
        assert await worker.stop() == 0
    sent = tally(due, world.smtp.accepted)
    tell(
        f"silence with {in_flight} in flight: noticed after {noticed:.1f} s with heartbeats of 1 s: {sent}, "
        f"{proxy.redelivered} redelivered, {adopted(worker)} adopted"
    )
    assert sent.is_complete
    assert not sent.repeats
    assert adopted(worker)
    assert await world.unfinished() == {}


def _told(trial: Trial, sent: Tally, dead: Counter[str]) -> str:
    in_flight = sum(cut.in_flight for cut in trial.cuts) / len(trial.cuts)
    redelivered = sum(proxy.redelivered for proxy in trial.proxies)
    return (
        f"cuts: {len(trial.workers)} worker(s), {len(trial.cuts)} cuts with {in_flight:.0f} in flight, "
        f"{trial.cuts_while_connecting} more while connecting: {sent}, {redelivered} redelivered, "
        f"{sum(map(adopted, trial.workers))} adopted; {len(trial.refused)} refused, "
        f"{dead.total() - len(dead)} dead letters too many"
    )


async def _trial(stack: AsyncExitStack, world: World, *, workers: int, events: int) -> Trial:
    world.smtp.delay("BODY", REPLY_SECONDS)
    proxies = [await stack.enter_async_context(AmqpProxy(world.url)) for _ in range(workers)]
    return Trial(
        world,
        proxies,
        [await world.worker(NOTIFY_BROKER_URL=proxy.url) for proxy in proxies],
        Random(20261124),  # noqa: S311 - a seeded fault script, no secret
        addresses(events),
    )


async def _cut(proxy: AmqpProxy) -> None:
    """Returns when the worker behind it is connecting again."""
    before = proxy.connections
    proxy.cut()
    await until(lambda: proxy.connections > before)


async def _dead(world: World) -> Counter[str]:
    """To whom the mails of the dead letters were."""
    return readers(await take_all(world.channel, dead_queue("exhausted", world.prefix)))


def _parts(events: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    bounds = [len(events) * n // count for n in range(count + 1)]
    return (events[start:end] for start, end in pairwise(bounds))
