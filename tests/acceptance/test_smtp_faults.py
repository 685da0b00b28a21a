"""Faults on the way to the SMTP server: a slow line, connections that break or fall silent at any moment.

Between the worker and the server stands a proxy that follows their dialogue. What breaks before the last byte
of a mail has left the worker is the server's trouble: tried again, and never counted. What breaks after it
leaves the outcome unknown: the mail is sent once more, under the same Message-ID.
"""

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any, Final

import pytest
from aio_pika.abc import AbstractIncomingMessage

from contracts.dead_letter import DeadLetter
from contracts.topology import retry_tier
from tests.acceptance.conftest import World
from tests.support.amqp import take
from tests.support.load import addresses, message_to, publish_all, tally
from tests.support.scale import cases
from tests.support.smtp_proxy import FaultyProxy, Point, Way
from tests.support.worker import Worker

EVENTS: Final = 40
LARGE_EVENTS: Final = 6
LARGE_BYTES: Final = 1_000_000
CUT_WITHIN_BYTES: Final = 30_000
"""The system buffers about a megabyte of an upload that goes well: it has to break before that."""

BEFORE_THE_END: Final = (Point.CONNECT, Point.EHLO, Point.MAIL, Point.RCPT, Point.CONTENT)


@pytest.fixture
async def line(world: World) -> AsyncIterator[FaultyProxy]:
    """The way to the SMTP server."""
    async with FaultyProxy(world.smtp.host, world.smtp.port) as proxy:
        yield proxy


def seeded(seed: int | str) -> Random:
    """Chance that is the same in every run."""
    return Random(seed)  # noqa: S311 - a fault script, no secret


async def worker_at(world: World, line: FaultyProxy, **settings: str) -> Worker:
    """A worker whose mail goes by `line`."""
    return await world.worker(EmailSmtpPort=str(line.port), **settings)


def large_message_to(address: str) -> dict[str, Any]:
    """One that does not fit into the buffers on the way, so that its upload takes a moment."""
    event = message_to(address)
    content = base64.b64encode(seeded(address).randbytes(LARGE_BYTES)).decode()
    event["data"]["attachments"] = [{"filename": "plan.bin", "contentBase64": content}]
    return event


async def publish_mixed(world: World, small: Sequence[str], large: Sequence[str]) -> None:
    """Publishes an event for each address."""
    events = [*map(message_to, small), *map(large_message_to, large)]
    seeded(len(events)).shuffle(events)
    await publish_all(world.channel, world.prefix, events)


async def assert_sent_once_at_the_first_attempt(world: World, worker: Worker, due: Sequence[str]) -> None:
    """Nothing lost, nothing repeated, nothing counted, nothing dead."""
    await world.smtp.until_accepted(len(due), within=50)
    await world.until_unfinished({})
    sent = tally(due, world.smtp.accepted)
    assert sent.is_complete
    assert not sent.repeats
    assert not worker.said(outcome="retry")
    assert {settled["attempt"] for settled in worker.said(outcome="delivered")} == {1}
    assert await world.dead_letters() == {}


async def test_a_line_that_passes_a_few_bytes_at_a_time_only_takes_longer(
    world: World, line: FaultyProxy
) -> None:
    """Every reply and every command arrives in pieces."""
    due = addresses(EVENTS)
    line.dawdle(seeded(20261124))
    await publish_mixed(world, due, ())
    worker = await worker_at(world, line)
    await assert_sent_once_at_the_first_attempt(world, worker, due)
    assert not worker.said(outcome="interrupted")
    assert not worker.said(action="pause")


@pytest.mark.parametrize("seed", range(cases(2, 20)))
async def test_connections_that_break_before_the_end_of_a_mail_cost_nothing(
    world: World, line: FaultyProxy, seed: int
) -> None:
    """Before the greeting, in EHLO, after MAIL, after RCPT and amid an upload, reset or closed."""
    chance = seeded(seed)
    small, large = addresses(EVENTS), addresses(LARGE_EVENTS, "large")
    line.content_bytes = chance.randint(1, CUT_WITHIN_BYTES)
    for point in (*BEFORE_THE_END, *chance.choices(BEFORE_THE_END, k=7)):
        line.fail(
            point,
            chance.choice((Way.RESET, Way.CLOSE)),
            to=chance.choice(large) if point is Point.CONTENT else "",
            times=1,
            skip=0 if point is Point.CONTENT else chance.randint(0, 3),
        )
    await publish_mixed(world, small, large)
    worker = await worker_at(world, line)
    await assert_sent_once_at_the_first_attempt(world, worker, [*small, *large])
    assert set(line.failed) == set(BEFORE_THE_END)


async def test_a_server_that_falls_silent_costs_nothing(world: World, line: FaultyProxy) -> None:
    """It accepts connections and says nothing, or stops answering amid a mail; every step has its time."""
    small, large = addresses(EVENTS), addresses(LARGE_EVENTS, "large")
    line.fail(Point.CONNECT, Way.SILENCE, times=3)
    for point in (Point.EHLO, Point.MAIL, Point.RCPT):
        line.fail(point, Way.SILENCE, times=1, skip=1)
    line.fail(Point.CONTENT, Way.SILENCE, to=large[0], times=1)
    await publish_mixed(world, small, large)
    worker = await worker_at(world, line, NOTIFY_SMTP_TIMEOUT_SECONDS="1")
    await assert_sent_once_at_the_first_attempt(world, worker, [*small, *large])
    assert set(line.failed) == set(BEFORE_THE_END)


async def test_a_connection_that_breaks_after_the_final_dot_has_the_mail_sent_once_more(
    world: World, line: FaultyProxy
) -> None:
    """Accepted or not, the worker cannot know: once more, under the same Message-ID, then dead."""
    due = addresses(EVENTS)
    once, twice, unfinished = seeded(7).sample(due, 3)
    line.fail(Point.DOT, Way.RESET, to=once, times=1)
    line.fail(Point.DOT, Way.CLOSE, to=twice, times=2)
    # It is so short that the worker has handed it over before the server has read half of it.
    line.fail(Point.CONTENT, Way.RESET, to=unfinished, times=1)
    await publish_mixed(world, due, ())
    worker = await worker_at(world, line)
    await world.until_unfinished({"retry.10s": 3})
    assert [history(copy)[0][1:] for copy in await copies(world, 3)] == [
        ["smtp-unreachable (outcome unknown)", "10s"]
    ] * 3
    letter = DeadLetter.from_headers((await world.dead("exhausted")).headers)
    assert (letter.code, letter.owed, letter.attempts) == ("smtp-unreachable", "0", 2)
    assert [code for _, code, _ in json.loads(letter.history)] == ["smtp-unreachable (outcome unknown)"] * 2
    await world.until_unfinished({})
    sent = tally(due, world.smtp.accepted)
    assert sent.is_complete
    assert Counter(repeat.address for repeat in sent.repeats) == {once: 1, twice: 1}
    assert len(worker.said(outcome="retry", code="smtp-unreachable")) == 3
    assert len(worker.said(outcome="delivered", attempt=2)) == 2
    assert await world.dead_letters() == {}


async def copies(world: World, count: int) -> list[AbstractIncomingMessage]:
    """The copies that wait in the first tier, looked at and put back."""
    messages = [await take(world.channel, retry_tier("10s", world.prefix)) for _ in range(count)]
    for message in messages:
        await message.nack(requeue=True)
    return messages


def history(copy: AbstractIncomingMessage) -> Any:
    """The attempts that a copy remembers."""
    return json.loads(str(copy.headers["notify-history"]))
