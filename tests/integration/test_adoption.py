"""Deliveries of a real broker that come again: adopted by the run that has them, or had them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, cast

import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from contracts.topology import Lane, work_queue
from tests.support.amqp import declared, delivery, depth, publish
from worker.adoption import Begin, Runs, run_of
from worker.delivery import Delivery


class Hanging:
    """A message whose connection broke in the very moment."""

    async def ack(self) -> None:
        """Never returns."""
        await asyncio.Event().wait()


class Broker:
    """A broker whose deliveries are taken over one connection after the other."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self.prefix = prefix
        self._stack = AsyncExitStack()
        self.channel: AbstractChannel

    async def connect(self) -> None:
        """A new connection; the one before breaks, and the broker has back what it handed out."""
        await self._stack.aclose()
        self.channel = await self._stack.enter_async_context(declared(self._url, self.prefix))

    async def publish(self, body: bytes = b"{}", **headers: Any) -> None:
        """To the standard lane."""
        await publish(self.channel, self.prefix, "system.x", body, headers, message_id="one")

    async def take(self) -> Delivery:
        """The next delivery."""
        taken = await delivery(self.channel, self.prefix)
        taken.run = run_of(taken)
        return taken

    async def left(self) -> int:
        """How many are ready."""
        return await depth(self.channel, work_queue(Lane.STANDARD, self.prefix))


@pytest.fixture
async def broker(broker_url: str, prefix: str) -> AsyncIterator[Broker]:
    """Connected."""
    here = Broker(broker_url, prefix)
    await here.connect()
    yield here
    await here._stack.aclose()


async def test_what_is_in_work_takes_over_the_newer_delivery(broker: Broker) -> None:
    """Its acknowledgement then counts."""
    runs = Runs()
    await broker.publish()
    first = await broker.take()
    assert runs.begin(first) is Begin.RUN
    await broker.connect()
    again = await broker.take()
    assert runs.begin(again) is Begin.ADOPTED
    await first.ack()
    await broker.connect()
    assert await broker.left() == 0


async def test_what_was_just_settled_has_only_to_be_acknowledged(broker: Broker) -> None:
    """Its acknowledgement was lost with the connection."""
    runs = Runs()
    await broker.publish()
    first = await broker.take()
    runs.begin(first)
    runs.settled(first.run)
    runs.end(first)
    await broker.connect()
    again = await broker.take()
    assert runs.begin(again) is Begin.SETTLED


async def test_what_was_given_back_runs_again(broker: Broker) -> None:
    """It came to no end."""
    runs = Runs()
    await broker.publish()
    first = await broker.take()
    runs.begin(first)
    await first.give_back()
    runs.end(first)
    again = await broker.take()
    assert again.redelivered
    assert runs.begin(again) is Begin.RUN
    assert runs.met(again.run)
    await again.ack()


async def test_what_is_published_again_runs_again(broker: Broker) -> None:
    """The same bytes are another message; whether its mails are sent is for the mails to say."""
    runs = Runs()
    for _ in range(2):
        await broker.publish()
        taken = await broker.take()
        assert runs.begin(taken) is Begin.RUN
        runs.settled(taken.run)
        runs.end(taken)
        await taken.ack()


async def test_of_two_that_run_at_once_the_one_that_lost_its_delivery_adopts(broker: Broker) -> None:
    """A newer delivery is never taken from one that can still acknowledge its own."""
    runs = Runs()
    await broker.publish()
    await broker.publish()
    first, twin = await broker.take(), await broker.take()
    assert [runs.begin(taken) for taken in (first, twin)] == [Begin.RUN, Begin.RUN]
    await broker.connect()
    again, again_too = await broker.take(), await broker.take()
    assert [runs.begin(taken) for taken in (again, again_too)] == [Begin.ADOPTED, Begin.RUN]
    await first.ack()
    await again_too.ack()
    assert await broker.left() == 0


@pytest.mark.parametrize(
    ("body", "headers", "is_the_same"),
    [
        (b"{}", {}, True),
        (b"{ }", {}, False),
        (b"{}", {"notify-copy-id": "01J"}, False),
        (b"{}", {"notify-dead-id": "01J"}, False),
        (b"{}", {"notify-attempts": 3}, True),
        (b"{}", {"CE-Id": "other"}, False),
    ],
    ids=[
        "itself",
        "other bytes",
        "a retry copy",
        "a dead letter sent again",
        "a header that decides nothing",
        "binary mode",
    ],
)
async def test_a_run_is_known_by_what_the_broker_repeats(
    broker: Broker, body: bytes, headers: dict[str, Any], *, is_the_same: bool
) -> None:
    """A retry copy and a redrive have an id of their own, and so are runs of their own."""
    await broker.publish()
    await broker.publish(body, **headers)
    first, other = await broker.take(), await broker.take()
    assert (run_of(first) == run_of(other)) is is_the_same


async def test_a_copy_that_was_published_twice_waits_for_its_twin(broker: Broker) -> None:
    """Its confirmation was lost: both side by side would each make a copy more."""
    copy: dict[str, Any] = {"notify-copy-id": "01J"}
    for _ in range(2):
        await broker.publish(b"{}", **copy)
    first, twin = await broker.take(), await broker.take()
    runs = Runs()
    assert runs.begin(first) is Begin.RUN
    assert runs.begin(twin) is Begin.LATER
    waiting = asyncio.create_task(runs.ended(twin.run))
    await asyncio.sleep(0)
    assert not waiting.done()
    runs.settled(first.run)
    runs.end(first)
    await waiting
    assert runs.begin(twin) is Begin.SETTLED


@pytest.mark.parametrize(("headers", "begins"), [({}, Begin.RUN), ({"notify-copy-id": "01J"}, Begin.SETTLED)])
async def test_what_another_worker_settled_is_only_believed_of_this_very_message(
    broker: Broker, headers: dict[str, Any], begins: Begin
) -> None:
    """The same event published again, which nothing tells from the first, is tried: the first may be dead."""
    runs = Runs()
    await broker.publish(**headers)
    await broker.take()
    await broker.connect()
    again = await broker.take()
    runs.settled_elsewhere(again.run)
    assert again.redelivered
    assert runs.begin(again) is begins


async def test_a_dead_letter_that_was_sent_again_twice_runs_once(broker: Broker) -> None:
    """Whoever sends it again may be killed before the dead letter is gone, and do it again."""
    runs = Runs()
    for begins in (Begin.RUN, Begin.SETTLED):
        headers: dict[str, Any] = {"notify-dead-id": "01J"}
        await broker.publish(**headers)
        taken = await broker.take()
        assert runs.begin(taken) is begins
        runs.settled(taken.run)
        runs.end(taken)
        await taken.ack()


async def test_what_is_adopted_while_its_run_is_being_acknowledged_is_acknowledged_as_well(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acknowledgement of the older delivery hangs with its connection."""
    monkeypatch.setattr("worker.delivery.ANSWER_SECONDS", 0.5)
    await broker.publish()
    first = await broker.take()

    first.message = cast("AbstractIncomingMessage", Hanging())
    answering = asyncio.create_task(first.ack())
    await asyncio.sleep(0)
    await broker.connect()
    first.adopt(await broker.take())
    await answering
    await broker.connect()
    assert await broker.left() == 0
