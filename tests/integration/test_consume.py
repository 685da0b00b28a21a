"""Consuming from a real broker: our own tasks, bounded by the prefetch, paused and resumed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import Channel

from contracts.topology import Lane, topology, work_queue
from tests.support.amqp import declared, publish, until
from worker.broker import connect
from worker.consume import Consumers, Pause
from worker.declare import declare
from worker.delivery import Delivery

Process = Callable[[Delivery], Awaitable[None]]
Consuming = Callable[[Process], AbstractAsyncContextManager[Consumers]]


async def _connected(url: str, prefix: str) -> AbstractConnection:
    connection = await connect(url, "test")
    await declare(connection, topology(prefix))
    return connection


@asynccontextmanager
async def _running(url: str, prefix: str, process: Process) -> AsyncIterator[Consumers]:
    consumers = Consumers(
        connect=partial(_connected, url, prefix),
        prefix=prefix,
        prefetch={Lane.URGENT: 2, Lane.STANDARD: 3},
        process=process,
    )
    async with _at_work(consumers):
        yield consumers


@asynccontextmanager
async def _at_work(consumers: Consumers) -> AsyncIterator[None]:
    task = asyncio.create_task(consumers.run())
    try:
        yield
    finally:
        await consumers.drain(1.0)
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
def consuming(broker_url: str, prefix: str) -> Consuming:
    """Consumers that hand every delivery to a function."""
    return partial(_running, broker_url, prefix)


@pytest.fixture
async def channel(broker_url: str, prefix: str) -> AsyncIterator[AbstractChannel]:
    """A channel of the test's own."""
    async with declared(broker_url, prefix) as opened:
        yield opened


async def test_both_lanes_arrive_with_their_lane_and_queue(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """A delivery knows where it came from."""
    got: list[Delivery] = []

    async def process(delivery: Delivery) -> None:
        got.append(delivery)
        await delivery.ack()

    async with consuming(process):
        await publish(channel, prefix, "password-reset.requested")
        await publish(channel, prefix, "form.x.y")
        await until(lambda: len(got) == 2)
    assert {(delivery.lane, delivery.queue, delivery.origin_key) for delivery in got} == {
        (Lane.URGENT, work_queue(Lane.URGENT, prefix), "password-reset.requested"),
        (Lane.STANDARD, work_queue(Lane.STANDARD, prefix), "form.x.y"),
    }


async def test_no_more_are_in_work_than_the_prefetch(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """Backpressure: the rest waits in the queue."""
    now, most, done = 0, 0, 0

    async def process(delivery: Delivery) -> None:
        nonlocal now, most, done
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        done += 1
        await delivery.ack()

    for _ in range(20):
        await publish(channel, prefix, "form.x.y")
    async with consuming(process):
        await until(lambda: done == 20)
    assert most == 3


async def test_another_prefetch_holds_at_once_and_what_is_in_work_goes_on(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """Nothing is given back for it, and nothing comes twice."""
    in_work: list[Delivery] = []
    may_end = asyncio.Event()

    async def process(delivery: Delivery) -> None:
        in_work.append(delivery)
        await may_end.wait()
        await delivery.ack()

    for _ in range(20):
        await publish(channel, prefix, "form.x.y")
    async with consuming(process) as consumers:
        await until(lambda: len(in_work) == 3)
        consumers.change_prefetch({Lane.URGENT: 2, Lane.STANDARD: 8})
        await until(lambda: len(in_work) > 3)
        await asyncio.sleep(0.3)
        assert 8 <= len(in_work) <= 11  # what was taken before may count, or not
        may_end.set()
        await until(lambda: len(in_work) == 20)
    assert not any(delivery.redelivered for delivery in in_work)


async def test_a_pause_takes_nothing_and_a_resumption_goes_on(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """What was given back in a pause waits for its end."""
    got = asyncio.Event()
    count = 0

    async def process(delivery: Delivery) -> None:
        nonlocal count
        count += 1
        got.set()
        await delivery.ack()

    async with consuming(process) as consumers:
        await publish(channel, prefix, "form.x.y")
        await until(got.is_set)
        consumers.pause(Pause.OUTAGE)
        await asyncio.sleep(0.2)
        got.clear()
        await publish(channel, prefix, "form.x.y")
        await asyncio.sleep(0.3)
        assert count == 1
        consumers.resume(Pause.OUTAGE)
        await until(lambda: count == 2)


async def test_a_bug_in_processing_gives_the_delivery_back(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """It is not held for ever, and the next delivery is worked on."""
    counts: list[int] = []

    async def process(delivery: Delivery) -> None:
        counts.append(delivery.delivery_count)
        if len(counts) == 1:
            raise KeyError("bug")
        await delivery.ack()

    async with consuming(process):
        await publish(channel, prefix, "form.x.y")
        await until(lambda: len(counts) == 2)
    assert counts == [0, 1]


async def test_a_deleted_queue_is_declared_and_consumed_again(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """The broker cancels the consumer; a consumer that is silently gone is what peers suffer from."""
    got: list[Delivery] = []

    async def process(delivery: Delivery) -> None:
        got.append(delivery)
        await delivery.ack()

    async with consuming(process):
        await publish(channel, prefix, "form.x.y")
        await until(lambda: len(got) == 1)
        await channel.queue_delete(work_queue(Lane.STANDARD, prefix))
        async with asyncio.timeout(15):
            while len(got) == 1:
                await publish(channel, prefix, "form.x.y")
                await asyncio.sleep(0.3)
    assert len(got) >= 2


async def test_a_consumer_that_is_silently_gone_is_found_out(
    broker_url: str, prefix: str, channel: AbstractChannel
) -> None:
    """Messages wait, there is room, and none arrives: the watchdog opens everything anew."""
    got: list[Delivery] = []
    opened: list[AbstractConnection] = []

    async def process(delivery: Delivery) -> None:
        got.append(delivery)
        await delivery.ack()

    async def connected() -> AbstractConnection:
        opened.append(await _connected(broker_url, prefix))
        return opened[-1]

    consumers = Consumers(
        connect=connected,
        prefix=prefix,
        prefetch={Lane.URGENT: 2, Lane.STANDARD: 3},
        process=process,
        watch_seconds=0.2,
    )
    async with _at_work(consumers):
        await publish(channel, prefix, "form.x.y")
        await until(lambda: len(got) == 1)
        await _lose_consumers_silently(opened[0])
        await publish(channel, prefix, "form.x.y")
        await until(lambda: len(got) == 2)
    assert len(opened) == 2


async def _lose_consumers_silently(connection: AbstractConnection) -> None:
    """The broker drops them, and the client that asked for it is not the one who consumes."""
    transport = connection.transport
    assert transport is not None
    for underlay in list(transport.connection.channels.values()):
        if isinstance(underlay, Channel):
            for tag in list(underlay.consumers):
                await underlay.basic_cancel(tag)


async def test_draining_waits_for_what_is_in_work_and_cuts_off_the_rest(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """How many were cut off is told; the broker has them back when the connection ends."""
    started = 0

    async def process(delivery: Delivery) -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(0.1 if delivery.lane is Lane.URGENT else 60)
        await delivery.ack()

    async with consuming(process) as consumers:
        await publish(channel, prefix, "password-reset.requested")
        await publish(channel, prefix, "form.x.y")
        await until(lambda: started == 2)
        assert await consumers.drain(0.5) == 1


async def test_a_consumer_that_does_not_come_to_be_is_told_by_rounds(broker_url: str, prefix: str) -> None:
    """Over a connection that has no queue to consume: a new start may help, and whoever probes hears of it."""

    async def ignored(delivery: Delivery) -> None:
        await delivery.ack()

    consumers = Consumers(
        connect=partial(connect, broker_url, "test"),
        prefix=f"{prefix}-missing",
        prefetch={Lane.URGENT: 2, Lane.STANDARD: 3},
        process=ignored,
    )
    async with _at_work(consumers):
        await until(lambda: consumers.flow.rounds >= 3)
        assert not consumers.flow.consuming


async def test_the_flow_tells_what_is_in_work_and_when_it_moved(
    consuming: Consuming, channel: AbstractChannel, prefix: str
) -> None:
    """Connected, consuming, how much of what may be in work is, and how long ago something came or went."""
    go_on = asyncio.Event()

    async def process(delivery: Delivery) -> None:
        await go_on.wait()
        await delivery.ack()

    async with consuming(process) as consumers:
        await until(lambda: consumers.flow.consuming)
        before = consumers.flow
        assert (before.rounds, before.silences, before.pauses) == (0, 0, frozenset())
        await publish(channel, prefix, "form.x.y")
        await until(lambda: consumers.flow.in_work == {Lane.URGENT: 0, Lane.STANDARD: 1})
        arrived = consumers.flow.moved_at
        assert arrived > before.moved_at
        consumers.pause(Pause.OUTAGE)
        await until(lambda: not consumers.flow.consuming)
        assert consumers.flow.connected_since is not None
        go_on.set()
        await until(lambda: not any(consumers.flow.in_work.values()))
        assert consumers.flow.moved_at > arrived
    await until(lambda: consumers.flow.connected_since is None)


async def test_whoever_tends_the_connection_is_called_at_every_look(broker_url: str, prefix: str) -> None:
    """With the connection that consumes; what was deleted meanwhile can be declared again over it."""
    tended: list[AbstractConnection] = []

    async def tend(connection: AbstractConnection) -> None:
        tended.append(connection)

    async def ignored(delivery: Delivery) -> None:
        await delivery.ack()

    consumers = Consumers(
        connect=partial(_connected, broker_url, prefix),
        prefix=prefix,
        prefetch={Lane.URGENT: 2, Lane.STANDARD: 3},
        process=ignored,
        tend=tend,
        watch_seconds=0.05,
    )
    async with _at_work(consumers):
        await until(lambda: len(tended) >= 2)
    assert len(set(map(id, tended))) == 1
