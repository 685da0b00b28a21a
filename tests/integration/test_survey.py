"""What the broker has beside what the contract says, at a real broker."""

from collections.abc import AsyncIterator

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractConnection

from contracts.definitions import whole_topology
from contracts.topology import Binding, Lane, Queue, Topology, dead_queue, events_exchange, work_queue
from tests.support.amqp import publish
from worker import survey
from worker.broker import BrokerUnavailableError
from worker.declare import declare
from worker.survey import State


@pytest.fixture
async def connection(broker_url: str) -> AsyncIterator[AbstractConnection]:
    """As the command has it."""
    async with survey.opened(broker_url) as opened:
        yield opened


async def states(connection: AbstractConnection, wanted: Topology) -> set[State]:
    """How the exchanges and queues of `wanted` are."""
    return {it.state for it in await survey.survey(connection, wanted, "/") if it.kind != "binding"}


async def test_looking_declares_nothing(connection: AbstractConnection, prefix: str) -> None:
    """All is missing at a new broker, and still is at the second look."""
    wanted = whole_topology(prefix)
    assert await states(connection, wanted) == {State.MISSING}
    assert await states(connection, wanted) == {State.MISSING}


async def test_what_is_missing_is_declared_and_said(connection: AbstractConnection, prefix: str) -> None:
    """Then all is there; the second time there is nothing to do."""
    wanted = whole_topology(prefix)
    for expected in (State.DECLARED, State.PRESENT):
        found = await survey.survey(connection, wanted, "/")
        done = await survey.apply(connection, wanted, found)
        assert {it.state for it in done if it.kind != "binding"} == {expected}
        assert len(done) == len(wanted.exchanges) + len(wanted.queues) + len(wanted.bindings)
    await declare(connection, wanted)


async def test_what_is_applied_takes_events(connection: AbstractConnection, prefix: str) -> None:
    """The bindings are made too, although AMQP does not show which were missing."""
    wanted = whole_topology(prefix)
    await survey.apply(connection, wanted, await survey.survey(connection, wanted, "/"))
    channel = await connection.channel()
    await publish(channel, prefix, "form.website.enquiryForm", message_id="1")
    queue = await channel.get_queue(work_queue(Lane.STANDARD, prefix), ensure=False)
    assert (await queue.get(timeout=10)).message_id == "1"


async def test_a_difference_names_the_steps_that_mend_it(connection: AbstractConnection, prefix: str) -> None:
    """Queues cannot be changed: what is in one is kept, it is deleted, declared and filled again."""
    name = dead_queue("config", prefix)
    channel = await connection.channel(publisher_confirms=True)
    await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})
    found = await found_of(connection, prefix, name)
    assert (found.state, found.text) == (
        State.DIFFERS,
        "x-delivery-limit is not set, the worker needs 2000000000",
    )
    assert found.fix == (f"rabbitmqctl delete_queue --vhost / {name}", "notify-worker topology apply")


async def test_messages_are_moved_before_their_queue_is_deleted(
    connection: AbstractConnection, prefix: str
) -> None:
    """The steps begin and end with them."""
    name = dead_queue("config", prefix)
    channel = await connection.channel(publisher_confirms=True)
    await channel.declare_queue(name, durable=True)
    await channel.default_exchange.publish(Message(b""), name)
    found = await found_of(connection, prefix, name)
    assert "Move messages (1)" in found.fix[0]
    assert found.fix[1:3] == (f"rabbitmqctl delete_queue --vhost / {name}", "notify-worker topology apply")
    assert f"{name}.kept" in found.fix[3]


async def test_an_exchange_of_another_type_differs(connection: AbstractConnection, prefix: str) -> None:
    """Such as one that a publisher has declared."""
    name = events_exchange(prefix)
    channel = await connection.channel()
    await channel.declare_exchange(name, "direct", durable=True)
    found = await found_of(connection, prefix, name)
    assert found.text == "type is direct, the worker needs topic"
    assert found.fix[-1] == "notify-worker topology apply"


async def test_nothing_is_declared_where_something_differs(connection: AbstractConnection, prefix: str) -> None:
    """Half a topology would take events and lose their dead letters."""
    wanted = whole_topology(prefix)
    channel = await connection.channel()
    await channel.declare_queue(dead_queue("config", prefix), durable=True)
    done = await survey.apply(connection, wanted, await survey.survey(connection, wanted, "/"))
    assert State.DECLARED not in {it.state for it in done}
    assert await states(connection, wanted) == {State.MISSING, State.DIFFERS}


async def test_a_broker_that_cannot_make_a_queue_is_told(connection: AbstractConnection, prefix: str) -> None:
    """As one without streams; the rest is declared, and bound."""
    odd = Queue(f"{prefix}.odd", {"x-queue-type": "sorted"})
    good = Queue(f"{prefix}.dead.config", {})
    wanted = Topology(prefix, (), (odd, good), (Binding("amq.topic", "a", odd.name),))
    done = await survey.apply(connection, wanted, await survey.survey(connection, wanted, "/"))
    assert [it.state for it in done] == [State.REFUSED, State.DECLARED]
    assert odd.name in done[0].text


def test_bindings_are_unseen_over_amqp() -> None:
    """It is said of each; none of them is wrong for that."""
    wanted = whole_topology()
    assert [it.state for it in survey.compared(wanted, None)] == [State.UNSEEN] * len(wanted.bindings)


def test_bindings_that_are_seen_are_compared_both_ways() -> None:
    """One that is missing loses events; one too many mails them twice. Others' own queues are their affair."""
    wanted = whole_topology()
    first, *rest = wanted.bindings
    extra = Binding("notify.events", "#", "notify.work.standard")
    audit = Binding("notify.events", "#", "audit")
    found = list(survey.compared(wanted, {*rest, extra, audit}))
    wrong = {it.state: it for it in found if it.wrong}
    assert set(wrong) == {State.MISSING, State.UNEXPECTED}
    assert wrong[State.MISSING].name == f"{first.exchange} to {first.queue} with key {first.key}"
    assert wrong[State.UNEXPECTED].name == "notify.events to notify.work.standard with key #"


async def test_a_broker_that_goes_away_is_unavailable() -> None:
    """One kind of error for whoever asks, whatever the client raised."""
    with pytest.raises(BrokerUnavailableError):
        async with survey.opened("amqp://127.0.0.1:1/"):
            pass


async def found_of(connection: AbstractConnection, prefix: str, name: str) -> survey.Found:
    """What is found of one exchange or queue."""
    found = await survey.survey(connection, whole_topology(prefix), "/")
    return next(it for it in found if it.name == name)
