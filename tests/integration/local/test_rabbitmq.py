"""The private RabbitMQ: ready when it says so, gone when it is stopped, and its data outlast a crash."""

from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest
from aio_pika import DeliveryMode, Message

from deploy.local.child import ChildError
from deploy.local.rabbitmq import PrivateRabbitMQ, free_ports
from tests.support.processes import living, nobody_works_in


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[PrivateRabbitMQ]:
    """A node that the test may stop or kill."""
    with PrivateRabbitMQ(tmp_path / "node") as node:
        yield node


async def test_a_started_node_takes_clients(broker_url: str, prefix: str) -> None:
    """The first connect after the start succeeds, and a quorum queue can be declared."""
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
        queue = await channel.declare_queue(
            f"{prefix}.work.urgent", passive=False, durable=True, arguments={"x-queue-type": "quorum"}
        )
        assert queue.declaration_result.message_count == 0


def test_its_tools_speak_to_it(broker_node: PrivateRabbitMQ) -> None:
    """RabbitMQ's own programs see this node, not the machine's."""
    assert str(broker_node.pid) in broker_node.ctl("eval", "os:getpid().")
    broker_node.ctl("check_port_connectivity", program="rabbitmq-diagnostics")


def test_a_tool_that_fails_says_why(broker_node: PrivateRabbitMQ) -> None:
    """The complaint of the tool is in the error."""
    with pytest.raises(ChildError, match=r"delete_vhost failed: (?s:.*)no-such"):
        broker_node.ctl("delete_vhost", "no-such")


def test_it_listens_on_loopback_only(broker_node: PrivateRabbitMQ) -> None:
    """Neither the node nor its names daemon can be reached from other machines."""
    listeners = broker_node.ctl("listeners", program="rabbitmq-diagnostics")
    interfaces = [line.split(", port")[0] for line in listeners.splitlines() if "Interface" in line]
    assert interfaces
    assert all("127.0.0.1" in interface or "[::1]" in interface for interface in interfaces), listeners


async def test_durable_data_outlast_a_restart_and_a_crash(own_node: PrivateRabbitMQ) -> None:
    """The address stays, and so does every confirmed, persistent message."""
    await publish(own_node, "before the restart")
    own_node.restart()  # in good order first: a quorum queue younger than a second does not outlast a crash
    await publish(own_node, "before the crash")
    own_node.kill()
    own_node.restart()
    assert await everything_in_the_queue(own_node) == ["before the restart", "before the crash"]


async def publish(node: PrivateRabbitMQ, body: str) -> None:
    """Declare a quorum queue, publish to it, and wait for the confirmation."""
    async with await aio_pika.connect(node.url) as connection, connection.channel() as channel:
        await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
        message = Message(body.encode(), delivery_mode=DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, "kept")


async def everything_in_the_queue(node: PrivateRabbitMQ) -> list[str]:
    """The bodies, in order."""
    async with await aio_pika.connect(node.url) as connection, connection.channel() as channel:
        queue = await channel.get_queue("kept")
        bodies = []
        while message := await queue.get(fail=False, timeout=30):
            bodies.append(message.body.decode())
        return bodies


def test_a_stopped_node_leaves_no_process(own_node: PrivateRabbitMQ, tmp_path: Path) -> None:
    """Neither the node nor its names daemon stays, nor what they started."""
    assert living(lambda process: process.pid == own_node.pid)
    own_node.stop()
    assert nobody_works_in(tmp_path)


def test_a_node_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    """The end of the log is in the error, and no process is left behind."""
    node = PrivateRabbitMQ(tmp_path / "node")
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "data").write_text("a file where a folder has to be")
    with pytest.raises(ChildError, match=r"RabbitMQ ended with exit code \d+; the end of .*node.log"):
        node.start()
    assert nobody_works_in(tmp_path)


def test_its_tools_are_not_run_against_a_stopped_node(tmp_path: Path) -> None:
    """They would start a names daemon that listens everywhere and stays."""
    with pytest.raises(RuntimeError, match="was not started"):
        PrivateRabbitMQ(tmp_path).ctl("status")


def test_free_ports_are_all_different() -> None:
    """One port is never given out twice."""
    assert len(set(free_ports(50))) == 50
