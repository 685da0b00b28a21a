"""Connecting to a real broker, and publishing that never hangs."""

import asyncio

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from yarl import URL

from contracts.topology import dead_exchange, dead_queue, events_exchange
from deploy.local.rabbitmq import free_ports
from tests.support.amqp import declared, take
from tests.support.tcp_proxy import TcpProxy
from worker.broker import (
    BrokerRefusedError,
    BrokerUnavailableError,
    Publisher,
    connect,
    connect_patiently,
    end_of,
    unless_lost,
)


async def test_a_wrong_password_is_told_by_its_setting(broker_url: str) -> None:
    """Waiting does not help, and the password is not repeated."""
    with pytest.raises(BrokerRefusedError, match="NOTIFY_BROKER_URL") as raised:
        await connect(broker_url.replace("guest:guest", "guest:wr0ng"), "test")
    assert "wr0ng" not in str(raised.value)


async def test_a_virtual_host_that_is_not_there_is_told(broker_url: str) -> None:
    """The sentence names it."""
    with pytest.raises(BrokerRefusedError, match="'nowhere'"):
        await connect(f"{broker_url}nowhere", "test")


async def test_a_broker_that_is_away_is_waited_for() -> None:
    """With growing pauses, until it comes or the worker is stopped."""
    (port,) = free_ports(1)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await connect_patiently(
            f"amqp://guest:guest@127.0.0.1:{port}/", "test", refusal_is_final=True, sleep=sleep
        )
    assert waits[0] < waits[3]


async def test_a_publish_is_confirmed_and_persistent_copies_arrive(broker_url: str, prefix: str) -> None:
    """When it returns the broker has it."""
    publisher = Publisher(broker_url, "test")
    async with declared(broker_url, prefix) as channel:
        await publisher.publish(dead_exchange(prefix), "config.x", aio_pika.Message(b"body"))
        assert (await take(channel, dead_queue("config", prefix))).body == b"body"
    await publisher.close()


@pytest.mark.parametrize(("exchange", "key"), [("{}.dead", "no.such.class"), ("{}.missing", "config.x")])
async def test_what_no_queue_takes_is_not_taken_for_published(
    broker_url: str, prefix: str, exchange: str, key: str
) -> None:
    """Confirmed and routed are two things; after an error the publisher goes on."""
    publisher = Publisher(broker_url, "test")
    async with declared(broker_url, prefix) as channel:
        with pytest.raises(BrokerUnavailableError):
            await publisher.publish(exchange.format(prefix), key, aio_pika.Message(b"lost?"))
        await publisher.publish(dead_exchange(prefix), "config.x", aio_pika.Message(b"next"))
        assert (await take(channel, dead_queue("config", prefix))).body == b"next"
    await publisher.close()


async def test_a_broker_that_is_away_is_an_error_and_not_a_wait() -> None:
    """Publishing has a time limit."""
    (port,) = free_ports(1)
    publisher = Publisher(f"amqp://guest:guest@127.0.0.1:{port}/", "test")
    with pytest.raises(BrokerUnavailableError):
        await publisher.publish("x", "y", aio_pika.Message(b""))
    await publisher.close()


async def test_a_connection_that_ended_while_it_was_made_ready_is_not_kept(
    broker_url: str, prefix: str
) -> None:
    """Nobody had heard of its end: everything published over it would fail for ever."""
    broker = URL(broker_url)
    assert broker.host
    async with TcpProxy(broker.host, broker.port or 0) as proxy, declared(broker_url, prefix):
        prepared = 0

        async def prepare(connection: AbstractConnection) -> None:
            nonlocal prepared
            prepared += 1
            if prepared == 1:
                ended = end_of(connection)
                proxy.cut()
                await ended

        publisher = Publisher(str(broker.with_port(proxy.port)), "test", prepare)
        message = aio_pika.Message(b"{}")
        with pytest.raises(BrokerUnavailableError):
            await publisher.publish(events_exchange(prefix), "form.x.y", message)
        await publisher.publish(events_exchange(prefix), "form.x.y", message)
        assert prepared == 2
        await publisher.close()


async def test_the_clients_nameless_error_is_a_lost_connection() -> None:
    """It raises a plain Exception for a request on a connection that ended without a reason."""

    async def request() -> None:
        raise Exception  # noqa: TRY002 - as the client does

    with pytest.raises(ConnectionError):
        await unless_lost(asyncio.get_running_loop().create_future(), request())
