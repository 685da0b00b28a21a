"""What tests of every cost share: one private RabbitMQ a run, and names of its own for each test."""

import secrets
from collections.abc import AsyncIterator, Iterator

import aio_pika
import pytest

from contracts.topology import topology
from deploy.local.rabbitmq import PrivateRabbitMQ


@pytest.fixture(scope="session")
def broker_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A running node for the whole run; a test that stops or kills one starts its own."""
    with PrivateRabbitMQ(tmp_path_factory.mktemp("broker")) as node:
        yield node


@pytest.fixture
def broker_url(broker_node: PrivateRabbitMQ) -> str:
    """Where the shared node is."""
    return broker_node.url


@pytest.fixture
async def prefix(broker_url: str) -> AsyncIterator[str]:
    """A NOTIFY_PREFIX that no other test has; what was declared under it is deleted afterwards.

    That takes 0.05 s; a virtual host for each test would take 0.8 s, in which RabbitMQ's tools start twice.
    """
    name = f"test-{secrets.token_hex(4)}"
    yield name
    declared = topology(name)
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
        for queue in declared.queues:
            await channel.queue_delete(queue.name)
        for exchange in declared.exchanges:
            await channel.exchange_delete(exchange.name)
