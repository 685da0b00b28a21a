"""Declaring the topology at a real broker."""

import aio_pika
import pytest

from contracts.topology import Lane, dead_queue, topology, work_queue
from tests.support.amqp import declared, publish, take
from worker.broker import connect
from worker.declare import TopologyDiffersError, declare


async def test_declaring_twice_changes_nothing(broker_url: str, prefix: str) -> None:
    """Every start declares."""
    async with await connect(broker_url, "test") as connection:
        await declare(connection, topology(prefix))
        await declare(connection, topology(prefix))


@pytest.mark.parametrize(
    ("key", "lane"),
    [
        ("password-reset.requested", Lane.URGENT),
        ("workflow.website.contensisEntryApproval.awaitingApproval.submit", Lane.STANDARD),
        ("form.website.enquiryForm", Lane.STANDARD),
        ("system.warning.schedule.missed", Lane.STANDARD),
    ],
)
async def test_the_lane_follows_the_routing_key(broker_url: str, prefix: str, key: str, lane: Lane) -> None:
    """Password resets are urgent, the rest is standard."""
    async with declared(broker_url, prefix) as channel:
        await publish(channel, prefix, key)
        assert (await take(channel, work_queue(lane, prefix))).routing_key == key


async def test_a_mistyped_key_ends_where_somebody_sees_it(broker_url: str, prefix: str) -> None:
    """The alternate exchange takes what no binding wants."""
    async with declared(broker_url, prefix) as channel:
        await publish(channel, prefix, "pasword-reset.requested")
        assert (await take(channel, dead_queue("unroutable", prefix))).routing_key == "pasword-reset.requested"


async def test_every_difference_is_listed_with_what_is_and_what_is_needed(broker_url: str, prefix: str) -> None:
    """One start shows all there is to mend."""
    async with await connect(broker_url, "test") as connection:
        await _declare_queue(
            connection, work_queue(Lane.STANDARD, prefix), {"x-queue-type": "quorum", "x-delivery-limit": 5}
        )
        await _declare_queue(connection, dead_queue("config", prefix), {})
        channel = await connection.channel()
        await channel.declare_exchange(f"{prefix}.dead", "direct", durable=True)
        with pytest.raises(TopologyDiffersError) as raised:
            await declare(connection, topology(prefix))
    exchange, work, dead = raised.value.differences
    assert exchange == f"exchange {prefix}.dead: type is direct, the worker needs topic"
    assert work.startswith(f"queue {prefix}.work.standard: ")
    assert "x-delivery-limit is 5, the worker needs 20" in work
    assert "x-overflow is not set, the worker needs reject-publish" in work
    assert dead.startswith(f"queue {prefix}.dead.config: x-queue-type is ")
    assert dead.endswith("the worker needs quorum")


async def _declare_queue(
    connection: aio_pika.abc.AbstractConnection, name: str, arguments: dict[str, str | int]
) -> None:
    async with connection.channel() as channel:
        await channel.declare_queue(name, durable=True, arguments=dict(arguments))
