"""The broker and the mail server in trouble under load: stopped, killed, short of memory, full, and away.

The node is this module's own. It is restarted in good order before it is killed: RabbitMQ 3.10 loses a quorum
queue or a stream that is younger than a second or two when the node is killed.

Not shown here: at-least-once dead-lettering by the broker itself into a full dead queue, which RabbitMQ tries
again only every 180 seconds.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from aio_pika.abc import AbstractIncomingMessage

from contracts.dead_letter import rfc3339
from contracts.topology import dead_exchange, dead_queue, retry_tier
from deploy.local.rabbitmq import PrivateRabbitMQ
from tests.acceptance.conftest import World
from tests.support.amqp import declared, take_all
from tests.support.examples import changed
from tests.support.figures import tell
from tests.support.load import (
    addresses,
    adopted,
    message_to,
    publish_all,
    readers,
    reset_for,
    tally,
    until_sent,
)
from tests.support.scale import cases

REPLY_SECONDS: Final = 0.03
SESSIONS: Final = 8
PREFETCH: Final = 32
MOST_AMONG_URGENT: Final = 8 * SESSIONS
"""How many other mails may go between twenty urgent ones: no session is kept for one that is still to come."""

REFUSED: Final = "550 5.1.1 unknown"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A node that may be stopped, killed and frightened."""
    with PrivateRabbitMQ(tmp_path_factory.mktemp("faulty")) as node:
        yield node


@pytest.fixture
def broker_url(node: PrivateRabbitMQ) -> str:
    """The tests of this module use that node."""
    return node.url


@pytest.mark.parametrize("fault", ["stopped", "killed"])
async def test_a_broker_that_goes_and_comes_back_under_load_costs_nothing(
    world: World, node: PrivateRabbitMQ, fault: str
) -> None:
    """Whether stopped in good order or killed: what was in work is known when it is delivered again."""
    due = addresses(cases(600, 3_000))
    world.smtp.delay("BODY", REPLY_SECONDS)
    worker = await world.worker()
    if fault == "killed":
        await asyncio.to_thread(node.restart)
    async with declared(node.url, world.prefix) as channel:
        await publish_all(channel, world.prefix, map(message_to, due))
    await world.smtp.until_accepted(100)
    await asyncio.to_thread(node.stop if fault == "stopped" else node.kill)
    before = len(world.smtp.accepted)
    await asyncio.to_thread(node.restart)
    await until_sent(world.smtp, due, 60)
    async with declared(node.url, world.prefix) as world.channel:
        await world.until_unfinished({})
        assert await worker.stop() == 0
        sent = tally(due, world.smtp.accepted)
        tell(f"broker {fault} after {before} mails and started: {sent}, {adopted(worker)} adopted")
        assert before < len(due)
        assert sent.is_complete
        assert not sent.repeats
        assert adopted(worker)
        assert await world.unfinished() == {}
        assert await world.dead_letters() == {}


async def test_a_memory_alarm_holds_copies_up_and_nothing_else(world: World, node: PrivateRabbitMQ) -> None:
    """Acknowledgements get through, so that mail goes on; copies are published when the alarm is over."""
    due, refused = addresses(cases(600, 3_000)), addresses(5, "refused")
    for address in refused:
        world.smtp.answer("RCPT", REFUSED, to=address)
    await publish_all(world.channel, world.prefix, map(message_to, (*due, *refused)))
    world.smtp.delay("BODY", REPLY_SECONDS)
    worker = await world.worker()
    await world.smtp.until_accepted(50)
    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "absolute", "1")
    before = len(world.smtp.accepted)
    await until_sent(world.smtp, due, 60)
    during = tally(due, world.smtp.accepted)
    await worker.until_said(action="broker-wait")
    assert await world.dead_letters() == {}
    await asyncio.to_thread(node.ctl, "set_vm_memory_high_watermark", "0.4")
    await worker.until_said(outcome="dead", times=len(refused))
    await world.until_unfinished({})
    assert await worker.stop() == 0
    dead = readers(await _dead(world))
    tell(
        f"memory alarm after {before} mails: {during} before it ended, {PREFETCH} in work at most; "
        f"{len(refused)} copies held up, {len(set(refused) - dead.keys())} lost, "
        f"{dead.total() - len(dead)} twice"
    )
    assert before < len(due) - PREFETCH, "acknowledgements were not needed: the test has shown nothing"
    assert tally(due, world.smtp.accepted) == during
    assert during.is_complete
    assert not during.repeats
    assert dead == Counter(refused)
    assert await world.unfinished() == {}


async def test_an_event_larger_than_the_broker_takes_by_now_is_moved_by_the_broker(
    world: World, node: PrivateRabbitMQ
) -> None:
    """It was taken before a limit was lowered, as by the change to RabbitMQ 4: it holds up nothing for ever."""
    refused, *others = addresses(10)
    world.smtp.answer("RCPT", REFUSED, to=refused)
    large = changed(message_to(refused), "data.message.summary", "word " * 8000)
    await publish_all(world.channel, world.prefix, [large])
    await _limit_messages(node, 20_000)
    try:
        worker = await world.worker()
        await publish_all(world.channel, world.prefix, map(message_to, others))
        await until_sent(world.smtp, others, 30)
        letter = await world.dead("poison")
        assert await worker.stop() == 0
    finally:
        await _limit_messages(node, 16 * 1024 * 1024)
    assert json.loads(letter.body) == large
    assert letter.routing_key == "poison.delivery-limit"
    assert await world.unfinished() == {}


async def test_full_queues_hold_up_what_is_for_them_and_nothing_else(
    world: World, node: PrivateRabbitMQ
) -> None:
    """The worker says so, keeps the deliveries whose copies find no room, and goes on when there is some."""
    put_off, refused, due = addresses(8, "later"), addresses(8, "refused"), addresses(100)
    for address in put_off:
        world.smtp.answer("RCPT", "450 4.2.0 Greylisted, try again in 5 minutes", to=address)
    for address in refused:
        world.smtp.answer("RCPT", REFUSED, to=address)
    await _limit_queues(node, world.prefix, 3)
    worker = await world.worker()
    # The message that goes beyond the limit is taken; from then on RabbitMQ refuses.
    await publish_all(world.channel, world.prefix, map(message_to, (*put_off[:4], *refused[:4])))
    await _until_copied(world, 4)
    await publish_all(world.channel, world.prefix, map(message_to, (*put_off[4:], *refused[4:], *due)))
    await until_sent(world.smtp, due, 30)
    for exchange in (retry_tier("5m", world.prefix), dead_exchange(world.prefix)):
        error = f"{exchange}: the broker refused the message; the queue may be full"
        await worker.until_said(action="broker-wait", error=error, times=4)
    copies = await _taken_copies(world)
    assert copies.total() == 8
    await _until_copied(world, 4)
    assert await worker.stop() == 0
    copies += await _taken_copies(world)
    tell(
        f"full queues: {tally(due, world.smtp.accepted)} beside them; 8 copies held up, {16 - len(copies)} lost"
    )
    assert tally(due, world.smtp.accepted).is_complete
    assert copies == Counter((*put_off, *refused))
    assert await world.unfinished() == {}


async def test_an_outage_of_the_mail_server_under_load_costs_no_attempt(world: World) -> None:
    """Nothing is lost, sent twice or counted; urgent mail goes first afterwards, and what expired is said."""
    due, later, urgent, expiring = addresses(300), addresses(100, "l"), addresses(20, "u"), addresses(5, "x")
    await publish_all(world.channel, world.prefix, map(message_to, due))
    world.smtp.delay("BODY", REPLY_SECONDS)
    worker = await world.worker()
    await world.smtp.until_accepted(50)
    world.smtp.forget_script()
    world.smtp.answer("MAIL", "421 4.3.2 shutting down")
    await worker.until_said(action="pause")
    await world.smtp.stop()
    world.smtp.forget_script()
    before = len(world.smtp.accepted)
    seconds = cases(6, 60)
    soon = rfc3339(datetime.now(UTC) + timedelta(seconds=seconds / 2))
    resets = (changed(reset_for(address), "data.reset.expires", soon) for address in expiring)
    await publish_all(world.channel, world.prefix, resets)
    await publish_all(world.channel, world.prefix, map(message_to, later))
    await publish_all(world.channel, world.prefix, map(reset_for, urgent))
    await asyncio.sleep(seconds)
    assert await world.dead_letters() == {}
    world.smtp.delay("BODY", REPLY_SECONDS)
    await world.smtp.start()
    everybody = (*due, *later, *urgent)
    await until_sent(world.smtp, everybody, 90)
    await world.until_unfinished({})
    assert await worker.stop() == 0
    sent = tally(everybody, world.smtp.accepted)
    order = [mail.recipients[0] for mail in world.smtp.accepted[before:]]
    last = max(map(order.index, urgent)) + 1
    dead = await _dead(world)
    tell(
        f"mail server away for {seconds} s after {before} mails: {sent}, "
        f"{len(worker.said(outcome='retry'))} attempts counted, {len(dead)} of {len(expiring)} expired, "
        f"all {len(urgent)} urgent mails among the first {last} afterwards"
    )
    assert sent.is_complete
    assert not sent.repeats
    assert {line["attempt"] for line in worker.said(action="settle")} == {1}
    assert readers(dead) == Counter(expiring)
    assert {letter.headers["notify-code"] for letter in dead} == {"expired"}
    assert last <= MOST_AMONG_URGENT + len(urgent)
    assert await world.unfinished() == {}


async def _dead(world: World) -> list[AbstractIncomingMessage]:
    """The dead letters of refused and expired mails, taken out of their queue."""
    return await take_all(world.channel, dead_queue("exhausted", world.prefix))


async def _limit_queues(node: PrivateRabbitMQ, prefix: str, length: int) -> None:
    """Lets a retry tier and the dead queue of refused mails hold no more than `length` messages, or so."""
    pattern = f"^{prefix}[.](retry[.]5m|dead[.]exhausted)$"
    full = json.dumps({"max-length": length, "overflow": "reject-publish"})
    await asyncio.to_thread(node.ctl, "set_policy", prefix, pattern, full, "--apply-to", "queues")


async def _limit_messages(node: PrivateRabbitMQ, size: int) -> None:
    """Channels opened from now on take no message of more bytes than `size`."""
    await asyncio.to_thread(node.ctl, "eval", f"application:set_env(rabbit, max_message_size, {size}).")


async def _until_copied(world: World, count: int) -> None:
    await world.until_unfinished({"retry.5m": count})
    while await world.dead_letters() != {"dead.exhausted": count}:  # noqa: ASYNC110 - a queue has no event
        await asyncio.sleep(0.1)


async def _taken_copies(world: World) -> Counter[str]:
    """To whom the mails were whose copies wait, which make room by being taken out."""
    waiting = await take_all(world.channel, retry_tier("5m", world.prefix))
    return readers((*waiting, *await _dead(world)))
