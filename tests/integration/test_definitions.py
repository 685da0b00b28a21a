"""The definitions file at a real broker: it imports, and its three users can do what they need and no more."""

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused

from contracts.definitions import FILE, Role, user_name, whole_topology
from contracts.topology import (
    Lane,
    dead_exchange,
    dead_queue,
    dead_stream,
    events_exchange,
    journal_stream,
    retry_tier,
    work_queue,
)
from deploy.local.child import ChildError
from deploy.local.rabbitmq import PrivateRabbitMQ
from tests.support.amqp import WAIT_SECONDS, take
from tests.support.amqp import publish as publish_event
from tests.support.examples import SYSTEM, fresh_example
from tests.support.smtp_server import SmtpServer
from tests.support.worker import Worker
from worker import survey
from worker.broker import BrokerRefusedError, connect
from worker.declare import declare
from worker.management import Management
from worker.survey import State

PASSWORD = "correct-horse"
STANDARD, DEAD = work_queue(Lane.STANDARD), dead_queue("config")

Step = Callable[[AbstractChannel], Awaitable[Any]]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A broker set up by an administrator: users first, then the file."""
    with PrivateRabbitMQ(tmp_path_factory.mktemp("definitions"), management=True) as broker:
        with pytest.raises(ChildError, match="no_such_user"):
            bring_in(broker)
        for role in Role:
            broker.ctl("add_user", user_name(role), PASSWORD)
        bring_in(broker)
        yield broker


def bring_in(node: PrivateRabbitMQ) -> None:
    """Import the file, from the node's own folder: a node in a root folder sees no other."""
    node.ctl("import_definitions", str(shutil.copy(FILE, node.log.parent)))


@asynccontextmanager
async def user(node: PrivateRabbitMQ, role: Role) -> AsyncIterator[AbstractConnection]:
    """A connection of one of the three."""
    async with await connect(url(node, role), "test") as connection:
        yield connection


def url(node: PrivateRabbitMQ, role: Role) -> str:
    """Where a user connects."""
    return node.url.replace("guest:guest", f"{user_name(role)}:{PASSWORD}")


async def test_the_import_is_the_topology(node: PrivateRabbitMQ) -> None:
    """Nothing is missing or differs, bindings included, and the worker starts at it."""
    wanted = whole_topology()
    bound = await Management.beside(node.url, node.management_url).bindings()
    async with user(node, Role.WORKER) as connection:
        found = await survey.survey(connection, wanted, "/", bound)
        assert {it.state for it in found} == {State.PRESENT}
        await declare(connection, wanted)


async def test_importing_again_changes_nothing(node: PrivateRabbitMQ) -> None:
    """Passwords stay, and so do messages."""
    async with user(node, Role.PUBLISHER) as connection:
        await publish(await connection.channel(), events_exchange(), "system.info.test")
    bring_in(node)
    async with user(node, Role.WORKER) as connection:
        message = await take(await connection.channel(), STANDARD)
        assert message.routing_key == "system.info.test"
        await message.ack()


async def publish(channel: AbstractChannel, exchange: str, key: str) -> None:
    """Confirmed, as all of them publish."""
    target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    await target.publish(Message(b"{}"), key, timeout=WAIT_SECONDS)


async def get(channel: AbstractChannel, queue: str) -> None:
    """Look at a message of a queue, if there is one, and leave it there."""
    message = await (await channel.get_queue(queue, ensure=False)).get(fail=False)
    if message:
        await message.reject(requeue=True)


@dataclass(frozen=True)
class Deed:
    """Something that a user does at the broker."""

    name: str
    do: Step


def publishes(exchange: str, key: str) -> Deed:
    """To an exchange; the empty name is the default exchange."""
    return Deed(
        f"publish to {exchange or 'the default exchange'}", lambda channel: publish(channel, exchange, key)
    )


def gets(queue: str) -> Deed:
    """From a queue."""
    return Deed(f"get from {queue}", lambda channel: get(channel, queue))


def deletes(queue: str) -> Deed:
    """A queue of any kind; it is told apart from another by name only."""
    return Deed(f"delete {queue}", lambda channel: channel.queue_delete(queue))


PUBLISH_EVENT = publishes(events_exchange(), "form.website.enquiryForm")
PUBLISH_DEAD = publishes(dead_exchange(), "config.sender-missing")
SEND_AGAIN = publishes("", STANDARD)
RETRY = publishes(retry_tier("10s"), STANDARD)
GET_WORK, GET_DEAD = gets(STANDARD), gets(DEAD)
DELETE_DEAD, DELETE_OTHER = deletes(DEAD), deletes("billing")
DECLARE_OWN = Deed("declare a queue", lambda channel: channel.declare_queue(f"own-{secrets.token_hex(4)}"))

MAY = {
    Role.PUBLISHER: [PUBLISH_EVENT],
    Role.WORKER: [RETRY, PUBLISH_DEAD, SEND_AGAIN, GET_WORK],
    Role.OPERATOR: [GET_DEAD, SEND_AGAIN, PUBLISH_DEAD],
}
MAY_NOT = {
    Role.PUBLISHER: [PUBLISH_DEAD, SEND_AGAIN, GET_WORK, GET_DEAD, DELETE_DEAD, DECLARE_OWN],
    Role.WORKER: [GET_DEAD, DELETE_OTHER, DECLARE_OWN],
    Role.OPERATOR: [PUBLISH_EVENT, RETRY, GET_WORK, DELETE_DEAD, DECLARE_OWN],
}


def cases(table: dict[Role, list[Deed]]) -> list[Any]:
    """A row for each user and deed."""
    return [pytest.param(role, it, id=f"{role}: {it.name}") for role, deeds in table.items() for it in deeds]


@pytest.mark.parametrize(("role", "deed"), cases(MAY))
async def test_a_user_may(node: PrivateRabbitMQ, role: Role, deed: Deed) -> None:
    """What its work needs."""
    async with user(node, role) as connection:
        await deed.do(await connection.channel())


@pytest.mark.parametrize(("role", "deed"), cases(MAY_NOT))
async def test_a_user_may_not(node: PrivateRabbitMQ, role: Role, deed: Deed) -> None:
    """What is others' work: the broker closes the channel."""
    async with user(node, role) as connection:
        with pytest.raises(ChannelAccessRefused):
            await deed.do(await connection.channel())


async def test_the_worker_works_with_what_it_is_granted(node: PrivateRabbitMQ, tmp_path: Path) -> None:
    """From the publisher's event to a mail, the journal and a dead letter that the operator reads."""
    async with SmtpServer() as smtp, user(node, Role.PUBLISHER) as publisher:
        settings = {"NOTIFY_BROKER_URL": url(node, Role.WORKER), "EmailSMTPHost": smtp.host}
        worker = Worker(tmp_path, **settings, EmailSmtpPort=str(smtp.port))
        try:
            await worker.until_said(action="ready")
            channel = await publisher.channel()
            await publish_event(
                channel, "notify", "system.info.test", json.dumps(fresh_example(SYSTEM)).encode()
            )
            await publish_event(channel, "notify", "system.info.test", b"no JSON")
            await worker.until_said(outcome="delivered")
            await worker.until_said(outcome="dead")
            warnings = {line["action"] for line in worker.said(level="warning")}
            assert warnings == {"settle"}
        finally:
            await worker.stop()
    async with user(node, Role.OPERATOR) as operator:
        await until_in_stream(await operator.channel(), journal_stream(), b"delivered")
        await until_in_stream(await operator.channel(), dead_stream(), b"no JSON")


async def until_in_stream(channel: AbstractChannel, name: str, part: bytes) -> None:
    """Returns when a message of a stream, read from its beginning, has `part` in it."""
    found = asyncio.Event()

    async def look(message: AbstractIncomingMessage) -> None:
        await message.ack()
        if part in message.body:
            found.set()

    # No iterator: it gives back what it has not shown, which a stream answers by closing the connection.
    await channel.set_qos(100)
    stream = await channel.get_queue(name, ensure=False)
    await stream.consume(look, arguments={"x-stream-offset": "first"})
    async with asyncio.timeout(WAIT_SECONDS):
        await found.wait()


async def test_a_user_without_permission_to_compare_is_told(node: PrivateRabbitMQ) -> None:
    """`topology check` compares by declaring what is there, so it needs the worker's own user."""
    async with user(node, Role.OPERATOR) as connection:
        with pytest.raises(BrokerRefusedError, match="configure"):
            await survey.survey(connection, whole_topology(), "/")


async def test_the_management_api_says_no_to_a_user_without_its_tag(node: PrivateRabbitMQ) -> None:
    """The three users have no tag; a refusal is not an empty list of bindings."""
    with pytest.raises(BrokerRefusedError, match="tag management"):
        await Management.beside(url(node, Role.WORKER), node.management_url).bindings()
