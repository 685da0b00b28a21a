"""Probes and metrics of a real worker, through all that may happen to what is around it."""

import asyncio
from pathlib import Path

import pytest

from contracts.signals import Metric
from contracts.topology import Lane, dead_queue, work_queue
from deploy.local.rabbitmq import PrivateRabbitMQ
from tests.acceptance.conftest import World
from tests.support.examples import PASSWORD_RESET, SYSTEM, fresh_example
from tests.support.otlp import receiving
from tests.support.probing import Asked
from tests.support.smtp_server import SmtpServer
from tests.support.worker import Worker, command


@pytest.fixture
def asked() -> Asked:
    """Where the worker of this test is asked."""
    return Asked.somewhere()


async def test_a_worker_that_consumes_is_alive_and_ready(world: World, asked: Asked) -> None:
    """And `notify-worker health` says so, for container engines."""
    await world.worker(**asked.variables)
    assert await asked.get("/livez") == (200, "ok\n")
    assert await asked.get("/readyz") == (200, "ok\n")
    assert await asked.get("/") == (404, "there is /livez, /readyz, /metrics\n")
    for arguments in (["health"], ["health", "--ready"]):
        assert await command(arguments, asked.variables) == (0, "ok\n", "")


async def test_a_dead_mail_server_is_no_reason_to_restart(world: World, asked: Asked) -> None:
    """In an outage the worker is alive and ready, and says in its metrics what it waits for."""
    port = world.smtp.port
    world.smtp.answer("CONNECT", "421 4.3.2 shutting down")
    worker = await world.worker(**asked.variables)
    for _ in range(3):
        await world.publish(fresh_example(SYSTEM))
    await worker.until_said(action="pause")
    assert await asked.get("/livez") == (200, "ok\n")
    assert await asked.get("/readyz") == (200, "ok\n")
    assert await asked.samples("notify_breaker_state") == {(f"{world.smtp.host}:{port}",): 1}


async def test_a_broker_that_stops_turns_readiness_red_and_life_stays_green(tmp_path: Path) -> None:
    """Until it is back; also where it was never there."""
    asked, prefix = Asked.somewhere(), "health"
    with PrivateRabbitMQ(tmp_path / "node") as node:
        async with SmtpServer() as smtp:
            settings = {
                "NOTIFY_BROKER_URL": node.url,
                "NOTIFY_PREFIX": prefix,
                "EmailSMTPHost": smtp.host,
                "EmailSmtpPort": str(smtp.port),
            }
            worker = Worker(tmp_path, **settings, **asked.variables)
            try:
                await asked.until("/readyz", 200)
                await asyncio.to_thread(node.ctl, "stop_app")
                assert await asked.until("/readyz", 503) == "not connected to RabbitMQ\n"
                assert await asked.get("/livez") == (200, "ok\n")
                assert await asked.samples("notify_broker_connected") == {(): 0}
                await asyncio.to_thread(node.ctl, "start_app")
                await asked.until("/readyz", 200, seconds=60)
            finally:
                worker.kill()


async def test_a_queue_that_is_deleted_is_there_again(world: World, asked: Asked) -> None:
    """The consumer is cancelled, and everything opened anew."""
    worker = await world.worker(**asked.variables)
    await world.channel.queue_delete(work_queue(Lane.URGENT, world.prefix))
    await worker.until_said(action="broker-back")
    await asked.until("/readyz", 200)
    assert await asked.get("/livez") == (200, "ok\n")


async def test_a_topology_that_is_no_longer_the_workers_turns_readiness_red(world: World, asked: Asked) -> None:
    """A queue replaced by one with other arguments: work goes on, and the difference is told."""
    worker = await world.worker(**asked.variables)
    name = work_queue(Lane.STANDARD, world.prefix)
    retry = f"{world.prefix}.retry.10s"
    await world.channel.queue_delete(retry)
    await world.channel.declare_queue(retry, durable=True, arguments={"x-queue-type": "quorum"})
    await world.channel.queue_delete(name)
    text = await asked.until("/readyz", 503)
    while "topology" not in text:
        text = await asked.until("/readyz", 503)
    assert f"queue {retry}:" in text
    assert "x-message-ttl is not set, the worker needs 10000" in text
    assert await asked.get("/livez") == (200, "ok\n")
    assert await asked.samples("notify_topology_differs") == {(): 1}
    await worker.until_said(action="broker-back")
    await world.publish(fresh_example(PASSWORD_RESET))
    await worker.until_said(outcome="delivered")


async def test_a_port_that_is_taken_keeps_no_mail(world: World, asked: Asked) -> None:
    """One sentence names the setting; the worker sends all the same."""
    first = await world.worker(**asked.variables)
    second = await world.worker(**asked.variables)
    (said,) = second.said(action="health")
    assert "NOTIFY_HEALTH_ADDRESS" in said["message"]
    assert said["error"] == "Address already in use" or "in use" in said["error"]
    await first.stop()
    await world.publish(fresh_example(SYSTEM))
    await second.until_said(outcome="delivered", times=2)


async def test_without_an_address_nobody_is_asked(world: World) -> None:
    """Probes of an image whose worker serves nothing do not fail."""
    assert (await command(["health"], {"NOTIFY_HEALTH_ADDRESS": ""}))[0] == 0
    assert (await command(["health"], Asked.somewhere().variables))[0] == 1


async def test_prometheus_reads_what_became_of_the_mail(world: World, asked: Asked) -> None:
    """Outcomes, dead letters, depths, replies and durations, under the names of the contract."""
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to="d.pritchard@broddu.example")
    worker = await world.worker(**asked.variables)
    await world.publish(fresh_example(SYSTEM))
    await world.publish(fresh_example(PASSWORD_RESET))
    await worker.until_said(action="settle", times=3)
    system, reset = fresh_example(SYSTEM)["type"], fresh_example(PASSWORD_RESET)["type"]
    assert await asked.samples("notify_outcomes_total") == {
        ("", system, "delivered"): 1,
        ("recipient-refused", system, "dead"): 1,
        ("", reset, "delivered"): 1,
    }
    assert await asked.samples("notify_dead_letters_total") == {("rejected", "recipient-refused"): 1}
    assert await asked.samples("notify_smtp_replies_total") == {("250",): 2, ("550",): 1}
    assert await asked.samples("notify_event_age_seconds_count") == {("standard",): 1, ("urgent",): 1}
    assert await asked.samples("notify_inflight") == {("standard",): 0, ("urgent",): 0}
    assert sum((await asked.samples("notify_smtp_send_duration_seconds_count")).values()) == 2
    assert (await asked.samples("process_resident_memory_bytes"))[()] > 0

    async def dead() -> float:
        depths = await asked.samples("notify_dead_depth")
        return depths.get((dead_queue("exhausted", world.prefix),), 0)

    async with asyncio.timeout(30):
        while await dead() != 1:  # noqa: ASYNC110 - another process looks every ten seconds
            await asyncio.sleep(0.2)
    assert await asked.samples("notify_work_depth") == {("standard",): 0, ("urgent",): 0}


async def test_metrics_go_to_a_collector_by_the_standard_variables(world: World) -> None:
    """With no endpoint of the worker's own; with names of the contract, each with its unit and description."""
    async with receiving() as receiver:
        worker = await world.worker(**receiver.variables)
        await world.publish(fresh_example(SYSTEM))
        await worker.until_said(outcome="delivered", times=2)
        await worker.stop()
    names = {metric.name for metric in receiver.metrics}
    assert names <= {metric.value for metric in Metric}
    assert {Metric.OUTCOMES, Metric.EVENT_AGE, Metric.BROKER_CONNECTED} <= names
    assert all(metric.description for metric in receiver.metrics)
    (last,) = [it for it in receiver.metrics if it.name == Metric.OUTCOMES][-1:]
    assert [point.as_int for point in last.sum.data_points] == [2]
