"""What hostile reviewers broke once: odd messages, forged headers, broken connections, stops in the middle."""

import asyncio
from functools import partial
from typing import Any

import pytest
from yarl import URL

from contracts.dead_letter import DeadLetter
from contracts.topology import dead_queue
from tests.acceptance.conftest import World
from tests.support.amqp import until
from tests.support.examples import PASSWORD_RESET, SYSTEM, changed, fresh_example
from tests.support.tcp_proxy import TcpProxy


def to(*names: str, **changes: Any) -> dict[str, Any]:
    """A system message to so many people."""
    event = fresh_example(SYSTEM)
    event["data"]["recipients"] = [{"email": f"{name}@broddu.example", "reason": "approver"} for name in names]
    event["data"] |= changes
    return event


async def test_the_publisher_comes_back_after_its_connection_broke(world: World) -> None:
    """Dead letters and retries are published after a cut as before it."""
    broker = URL(world.url)
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to="gone@broddu.example")
    async with TcpProxy(broker.host or "", broker.port or 0) as proxy:
        worker = await world.worker(NOTIFY_BROKER_URL=str(broker.with_port(proxy.port)))
        for _ in range(3):
            await world.publish(to("gone"))
            assert DeadLetter.from_headers((await world.dead("exhausted")).headers).code == "recipient-refused"
            connections = proxy.connections
            proxy.cut()
            await until(partial(_more_than, proxy, connections))
        assert not [line for line in worker.lines if line["level"] == "error"]


async def test_a_dead_queue_that_was_deleted_is_declared_again(world: World) -> None:
    """A missing queue stops no lane."""
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to="gone@broddu.example")
    worker = await world.worker()
    await world.channel.queue_delete(dead_queue("exhausted", world.prefix))
    await world.publish(to("gone"))
    await world.publish(to("here"))
    await world.smtp.until_accepted(1)
    await worker.until_said(outcome="dead")
    assert DeadLetter.from_headers((await world.dead("exhausted")).headers).code == "recipient-refused"


async def test_a_property_that_is_no_text_harms_nobody(world: World) -> None:
    """The client cannot read it by itself, and would end the connection with all that is in work on it."""
    broken = {"correlation_id": "\udcff\udcfe"}
    await world.publish(to("before"))
    await _publish_with_broken_property(world, to("odd"), broken)
    await world.publish(to("after"))
    worker = await world.worker()
    await world.smtp.until_accepted(3)
    assert not worker.said(action="broker-lost")
    assert await world.dead_letters() == {}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"notify-first-failed": "2026-01-01T00:00:00"}, id="a first failure without an offset"),
        pytest.param({"notify-first-failed": "9999-12-31T23:59:59Z"}, id="a first failure in the far future"),
        pytest.param({"notify-attempts": 2**62}, id="too many attempts"),
        pytest.param({"notify-attempts": -5}, id="negative attempts"),
        pytest.param({"notify-history": "[" * 50_000}, id="a deep history"),
        pytest.param({"notify-owed": "9999"}, id="an owed mail that there is not"),
        pytest.param({"notify-owed": "0-9999999"}, id="an owed range without end"),
    ],
)
async def test_forged_and_odd_headers_stop_nothing(world: World, headers: dict[str, Any]) -> None:
    """The good mail goes, the refused one is a dead letter, once; nothing goes round."""
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to="gone@broddu.example")
    world.smtp.answer("RCPT", "450 4.2.1 later", to="later@broddu.example")
    await world.publish(to("here", "gone", "later"), headers=headers)
    worker = await world.worker()
    letter = DeadLetter.from_headers((await world.dead("exhausted")).headers)
    assert letter.code == "recipient-refused"
    await worker.until_said(outcome="retry")
    assert world.recipients() == ["here@broddu.example"]
    assert not [line for line in worker.lines if line["level"] == "error"]


async def test_a_server_that_refuses_every_connection_is_left_in_peace(world: World) -> None:
    """421 at the greeting is an outage like any other: a pause, and a few connections."""
    world.smtp.max_connections = 0
    for _ in range(10):
        await world.publish(to("a", "b"))
    worker = await world.worker()
    await worker.until_said(action="pause")
    await asyncio.sleep(3)
    assert world.smtp.connections < 60
    assert await world.dead_letters() == {}
    world.smtp.max_connections = None
    await world.smtp.until_accepted(20, within=40)


async def test_one_connection_too_many_costs_no_attempt(world: World) -> None:
    """A server of two connections is served by two; nothing is counted, nothing lost."""
    world.smtp.max_connections = 2
    world.smtp.delay("BODY", 0.02)
    for _ in range(30):
        await world.publish(to("a", "b"))
    worker = await world.worker()
    await world.smtp.until_accepted(60, within=60)
    assert not worker.said(outcome="retry")
    assert not worker.said(action="pause")


async def test_a_stop_while_one_server_reply_is_missing_repeats_no_other_mail(world: World) -> None:
    """What is known at the deadline is settled; the mail without a reply is owed, and marked as unknown."""
    world.smtp.stay_silent("BODY", to="silent@broddu.example", times=1)
    await world.publish(to("a", "b", "silent"))
    first = await world.worker(NOTIFY_DRAIN_SECONDS="4")
    await world.smtp.until_accepted(2)
    assert await first.stop() == 0
    assert await world.unfinished() == {"retry.10s": 1}
    await world.worker()
    await world.smtp.until_accepted(3, within=30)
    assert world.recipients() == [f"{name}@broddu.example" for name in ("a", "b", "silent")]


async def test_a_stop_while_the_rate_makes_mails_wait_repeats_none(world: World) -> None:
    """Who waits for the rate is told of the stop at once."""
    names = [f"p{n}" for n in range(6)]
    await world.publish(to(*names))
    first = await world.worker(NOTIFY_SMTP_MESSAGES_PER_MINUTE="4", NOTIFY_DRAIN_SECONDS="10")
    await world.smtp.until_accepted(3)
    async with asyncio.timeout(5):
        assert await first.stop() == 0
    await world.worker()
    await world.smtp.until_accepted(6, within=30)
    assert world.recipients() == [f"{name}@broddu.example" for name in names]


async def test_a_reset_does_not_wait_for_the_first_mail_of_its_sender(world: World) -> None:
    """A standard mail of the same sender that waits for a session holds up no reset."""
    world.smtp.delay("BODY", 0.05)
    for n in range(100):
        await world.publish(changed(to(f"f{n}"), "data.from", "forms@broddu.example"))
    await world.publish(to("slow"))
    worker = await world.worker(NOTIFY_SMTP_MAX_SESSIONS="1")
    await world.smtp.until_accepted(3)
    await world.publish(fresh_example(PASSWORD_RESET))
    await worker.until_said(lane="urgent", outcome="delivered")
    assert len(world.smtp.accepted) < 50


def _more_than(proxy: TcpProxy, connections: int) -> bool:
    return proxy.connections > connections


async def _publish_with_broken_property(world: World, event: dict[str, Any], broken: dict[str, str]) -> None:
    from pamqp import encode  # noqa: PLC0415 - only here the client is made to write what it would not

    proper = encode.METHODS["shortstr"]
    encode.METHODS["shortstr"] = lambda text: (
        bytes([len(text)]) + text.encode(errors="surrogateescape") if "\udcff" in text else proper(text)
    )
    try:
        await world.publish(event, **broken)
    finally:
        encode.METHODS["shortstr"] = proper
