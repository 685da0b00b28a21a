"""Starting, stopping, and being told nonsense."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from contracts.topology import Lane, work_queue
from deploy.local.rabbitmq import PrivateRabbitMQ, free_ports
from tests.acceptance.conftest import World
from tests.support.amqp import declared
from tests.support.examples import SYSTEM, fresh_example
from tests.support.worker import Worker, command


async def test_sigterm_finishes_what_is_in_work_and_loses_nothing(world: World) -> None:
    """It exits 0 in time; what it had not begun waits in the queue; a second worker sends just that."""
    events = [fresh_example(SYSTEM) for _ in range(200)]
    for event in events:
        await world.publish(event)
    world.smtp.delay("BODY", 0.05)
    first = await world.worker(NOTIFY_DRAIN_SECONDS="10")
    await world.smtp.until_accepted(20)
    started = asyncio.get_running_loop().time()
    assert await first.stop() == 0
    assert asyncio.get_running_loop().time() - started < 10
    sent = len(world.smtp.accepted)
    assert 20 <= sent < 400
    await world.worker()
    await world.smtp.until_accepted(400, within=60)
    await asyncio.sleep(0.5)
    assert len(world.smtp.accepted) == 400
    assert len({accepted.content for accepted in world.smtp.accepted}) == 400
    assert await world.dead_letters() == {}


async def test_a_server_that_never_answers_does_not_hold_up_the_end(world: World) -> None:
    """At the deadline what is in work is cut off and given back; the exit code is still 0."""
    world.smtp.stay_silent("BODY")
    await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(NOTIFY_DRAIN_SECONDS="3")
    await world.smtp.reached["BODY"].wait()
    async with asyncio.timeout(6):
        assert await worker.stop() == 0
    assert worker.said(action="drain", events=1)
    await world.until_unfinished({"work.standard": 1})


async def test_a_second_signal_forces_the_end(world: World) -> None:
    """Whoever presses Ctrl-C twice means it."""
    world.smtp.stay_silent("BODY")
    await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(NOTIFY_DRAIN_SECONDS="50")
    await world.smtp.reached["BODY"].wait()
    os.kill(worker.pid, signal.SIGINT)
    await worker.until_said(action="drain")
    os.kill(worker.pid, signal.SIGINT)
    await worker.ended(seconds=8)


async def test_a_broker_that_is_down_at_start_is_waited_for(tmp_path: Path) -> None:
    """It waits, says so, and connects when the broker comes; a stop while it waits is a clean one."""
    node = PrivateRabbitMQ(tmp_path / "node")
    worker = Worker(tmp_path, NOTIFY_BROKER_URL=node.url)
    try:
        await worker.until_said(action="broker-wait", times=2)
        await asyncio.to_thread(node.start)
        await worker.until_said(action="ready")
        assert await worker.stop() == 0
        waiting = Worker(tmp_path, NOTIFY_BROKER_URL=f"amqp://127.0.0.1:{free_ports(1)[0]}/")
        await waiting.until_said(action="broker-wait")
        assert await waiting.stop() == 0
    finally:
        worker.kill()
        await asyncio.to_thread(node.stop)


async def test_a_broker_that_restarts_is_found_again(world: World, tmp_path: Path) -> None:
    """What was published before and after the restart is sent, once."""
    with PrivateRabbitMQ(tmp_path / "node") as node:
        async with declared(node.url, world.prefix) as channel:
            world.url, world.channel = node.url, channel
            worker = await world.worker()
            await world.publish(fresh_example(SYSTEM))
            await world.smtp.until_accepted(2)
        await asyncio.to_thread(node.restart)
        await worker.until_said(action="broker-lost")
        async with declared(node.url, world.prefix) as channel:
            world.channel = channel
            await world.publish(fresh_example(SYSTEM))
            await world.smtp.until_accepted(4, within=30)
        assert worker.running
        await worker.stop()


async def test_a_wrong_broker_password_ends_it_with_a_sentence(broker_url: str, tmp_path: Path) -> None:
    """Exit code 2; waiting does not help."""
    worker = Worker(tmp_path, NOTIFY_BROKER_URL=broker_url.replace("guest:guest", "guest:wr0ng"))
    assert await worker.ended() == 2
    assert "refused user 'guest'" in worker.text
    assert "NOTIFY_BROKER_URL" in worker.text
    assert "wr0ng" not in worker.text


async def test_a_queue_with_other_arguments_ends_it_with_the_difference(world: World) -> None:
    """Exit code 2; what is and what is needed, and what to do."""
    queue = work_queue(Lane.STANDARD, world.prefix)
    await world.channel.queue_delete(queue)
    await world.channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
    worker = world.starting_worker()
    assert await worker.ended() == 2
    assert f"queue {queue}: " in worker.text
    assert "x-delivery-limit is not set, the worker needs 20" in worker.text
    assert "NOTIFY_PREFIX" in worker.text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"EmailSmtpPort": "abc"}, ["EmailSmtpPort", '"abc"'], id="port abc"),
        pytest.param({"EmailSmtpPort": "70000"}, ["EmailSmtpPort", "65535"], id="port too large"),
        pytest.param({"EmailSmtpHost": "x"}, ["EmailSmtpHost", "EmailSMTPHost"], id="a name misspelt"),
        pytest.param({"EmailSmtpUseSSL": "yes"}, ["EmailSmtpUseSSL", "true"], id="yes is no boolean"),
        pytest.param({"NOTIFY_BROKER_URL": "localhost"}, ["NOTIFY_BROKER_URL", "amqp://"], id="no URL"),
        pytest.param({"NOTIFY_BROKER_URL": "http://x/"}, ["NOTIFY_BROKER_URL", "amqp://"], id="not amqp"),
        pytest.param(
            {"EmailSmtpPort": "abc", "EmailSmtpUseSSL": "maybe", "NOTIFY_DRAIN_SECONDS": "-1"},
            ["EmailSmtpPort", "EmailSmtpUseSSL", "NOTIFY_DRAIN_SECONDS"],
            id="all faults at once",
        ),
    ],
)
async def test_settings_that_cannot_be_read_end_it_with_every_fault(
    settings: dict[str, str], words: list[str]
) -> None:
    """Exit code 2, each fault with its setting's name, before anything is connected."""
    for arguments in (["run"], ["settings"]):
        code, out, err = await command(arguments, settings)
        assert code == 2
        assert out == ""
        assert all(word in err for word in words)


def _faulty_template(folder: Path) -> str:
    (folder / "system" / "message").mkdir(parents=True)
    (folder / "system" / "message" / "subject.txt").write_text("{{ title }}\n{{ titel }}", encoding="utf-8")
    return str(folder)


async def test_a_faulty_template_ends_it_with_file_line_and_name(tmp_path: Path) -> None:
    """Exit code 2, before anything is connected."""
    code, _, err = await command(["run"], {"NOTIFY_TEMPLATES_DIR": _faulty_template(tmp_path)})
    assert code == 2
    assert (
        "system/message/subject.txt, line 2: there is no value named titel, but there is title\n"
        "Correct them; with NOTIFY_TEMPLATES_FALLBACK=true the worker starts"
    ) in err


async def test_a_faulty_template_is_passed_over_if_asked_for(world: World, tmp_path: Path) -> None:
    """The log says so, and mail goes out with the worker's own."""
    folder = _faulty_template(tmp_path / "templates")
    worker = await world.worker(NOTIFY_TEMPLATES_DIR=folder, NOTIFY_TEMPLATES_FALLBACK="true")
    [warning] = [line for line in worker.said(action="warn") if "passed over" in line["message"]]
    assert warning["text"].startswith("system/message/subject.txt, line 2: ")
    await world.publish(fresh_example(SYSTEM))
    await world.smtp.until_accepted(2)


async def test_an_unknown_notify_name_in_the_environment_is_only_a_warning(world: World) -> None:
    """Kubernetes puts such names there."""
    worker = await world.worker(NOTIFY_SERVICE_PORT="1")
    assert any("NOTIFY_SERVICE_PORT" in line["message"] for line in worker.said(action="warn"))


async def test_an_ipv6_literal_is_a_host(world: World) -> None:
    """With and without brackets."""
    await world.smtp.stop()
    world.smtp.host, world.smtp.port = "::1", 0
    await world.smtp.start()
    for count, host in enumerate(("::1", "[::1]"), start=1):
        await world.publish(fresh_example(SYSTEM))
        worker = await world.worker(EmailSMTPHost=host)
        await world.smtp.until_accepted(2 * count)
        assert await worker.stop() == 0, worker.text
