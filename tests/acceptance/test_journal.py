"""Nothing is sent twice across a kill, between workers, or when an event is published twice."""

import aio_pika
from yarl import URL

from contracts.journal import Record, What
from contracts.topology import dead_stream, journal_stream
from deploy.local.rabbitmq import PrivateRabbitMQ
from tests.acceptance.conftest import World
from tests.support.amqp import until
from tests.support.examples import SYSTEM, fresh_example

ONE_MAIL = "password-reset-requested"


async def records(url: str, stream: str, count: int) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """The first messages of a stream, as soon as there are so many."""
    got: list[aio_pika.abc.AbstractIncomingMessage] = []

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        got.append(message)
        await message.ack()

    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        await channel.set_qos(prefetch_count=100)
        queue = await channel.get_queue(stream, ensure=False)
        await queue.consume(take, arguments={"x-stream-offset": "first"})
        await until(lambda: len(got) >= count)
    return got


async def test_a_worker_that_is_killed_has_not_forgotten_what_it_sent(world: World) -> None:
    """The one that comes after it reads the journal before it takes anything."""
    event = fresh_example(SYSTEM)
    first = await world.worker()
    await world.publish(event)
    await world.smtp.until_accepted(2)
    await first.until_said(outcome="delivered", times=2)
    first.kill()
    second = await world.worker()
    await world.publish(event)
    await second.until_said(outcome="suppressed", code="duplicate", times=2)
    assert len(world.smtp.accepted) == 2


async def test_an_event_published_twice_to_two_workers_is_sent_once(world: World) -> None:
    """Each of them reads what the other has sent."""
    event = fresh_example(ONE_MAIL)
    await world.worker()
    await world.worker()
    await world.publish(event)
    await world.smtp.until_accepted(1)
    await until(lambda: bool(world.workers_said(outcome="delivered")))
    for _ in range(6):
        await world.publish(event)
    await until(lambda: len(world.workers_said(outcome="suppressed")) == 6)
    assert len(world.smtp.accepted) == 1
    assert all(worker.said(outcome="suppressed") for worker in world.workers)


async def test_a_retry_copy_is_not_swallowed_and_owes_only_the_rest(world: World) -> None:
    """Three recipients: one refused for good, one for now, one fine; each is treated once."""
    event = fresh_example(SYSTEM)
    people = event["data"]["recipients"]
    event["data"]["recipients"] = [
        {**people[0], "email": f"{name}@example.org"} for name in ("fine", "busy", "nobody")
    ]
    world.smtp.answer("RCPT", "450 4.2.1 Mailbox busy", to="busy@example.org", times=3)
    world.smtp.answer("RCPT", "550 5.1.1 No such user", to="nobody@example.org")
    first = await world.worker()
    await world.publish(event)
    await first.until_said(outcome="retry")
    first.kill()
    await world.worker()
    await world.smtp.until_accepted(2, within=30)
    await world.until_unfinished({})
    letter = await world.dead("exhausted")
    assert letter.headers["notify-owed"] == "2"
    assert world.recipients() == ["busy@example.org", "fine@example.org"]
    assert await world.dead_letters() == {}


async def test_the_journal_tells_what_became_of_every_mail_without_personal_data(world: World) -> None:
    """And dead letters are copied, bodies included, to a stream of their own."""
    event = fresh_example(SYSTEM)
    world.smtp.answer("RCPT", "550 5.1.1 No such user", to=event["data"]["recipients"][0]["email"])
    worker = await world.worker()
    await world.publish(event)
    await worker.until_said(outcome="dead")
    groups = await records(world.url, journal_stream(world.prefix), 2)
    text = b"\n".join(group.body for group in groups)
    assert b"@" not in text.replace(b"[address]", b"")
    lines = [Record.read(line) for line in text.splitlines()]
    became = {line.what: line for line in lines}
    assert set(became) == {What.STARTED, What.DELIVERED, What.DEAD}
    assert became[What.DELIVERED].event == became[What.DEAD].event == event["id"]
    assert became[What.DEAD].code == "recipient-refused"
    copies = await records(world.url, dead_stream(world.prefix), 1)
    letter = await world.dead("exhausted")
    assert copies[0].body == letter.body
    assert copies[0].headers["notify-dead-id"] == letter.headers["notify-dead-id"] == became[What.DEAD].dead_id


async def test_a_broker_without_streams_is_done_without(world: World, broker_node: PrivateRabbitMQ) -> None:
    """The worker says what is then lost, and works."""
    user = f"u-{world.prefix}"
    own = f"^(amq\\.default|{world.prefix}\\.(?!journal).*)$"
    broker_node.ctl("add_user", user, "secret")
    broker_node.ctl("set_permissions", user, own, own, own)
    url = str(URL(world.url).with_user(user).with_password("secret"))
    worker = await world.worker(NOTIFY_BROKER_URL=url)
    assert "may be sent twice" in worker.said(action="journal")[0]["message"]
    await world.publish(fresh_example(ONE_MAIL))
    await world.smtp.until_accepted(1)
    await world.until_unfinished({})
    broker_node.ctl("delete_user", user)
