"""Faults on the way to the SMTP server: a slow line, connections that break or fall silent at seeded moments.

Between the worker and the server stands a proxy that follows their dialogue. What breaks before the last byte
of a mail has left the worker is the server's trouble: tried again, and never counted. What breaks after it
leaves the outcome unknown: the mail is sent once more, under the same Message-ID, and never a third time.
"""

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from contracts.dead_letter import DeadLetter
from contracts.journal import Record, What
from contracts.topology import RETRY_TIERS, journal_stream, retry_tier
from tests.acceptance.conftest import World
from tests.support.amqp import take, until
from tests.support.figures import tell
from tests.support.load import Tally, addresses, message_to, publish_all, tally, until_sent
from tests.support.scale import cases
from tests.support.smtp_proxy import FaultyProxy, Point, Way
from tests.support.worker import Worker

EVENTS: Final = cases(20, 200)
LARGE_EVENTS: Final = 5
LARGE_BYTES: Final = 1_000_000
CUT_WITHIN_BYTES: Final = 30_000
"""The system buffers about a megabyte of an upload that goes well: it has to break before that."""

TIER: Final = "10s"
UNKNOWN: Final = "smtp-unreachable (outcome unknown)"
SEED: Final = 20261124


Script = Callable[[FaultyProxy, Random, Sequence[str]], None]
"""Tells the line when to fail; is given the addresses of the large mails as well."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: what goes wrong on the line. `large` mails are those whose upload takes a moment."""

    name: str
    script: Script
    failures: int
    large: int = 0
    timeout_seconds: int = 30


def dawdling(line: FaultyProxy, chance: Random, _large: Sequence[str]) -> None:
    """Every reply and every command arrives late and in pieces."""
    line.dawdle(chance)


def broken(point: Point, *, times: int, among: int) -> Script:
    """So many of the first dialogues that come to `point` are reset or closed there."""

    def script(line: FaultyProxy, chance: Random, _large: Sequence[str]) -> None:
        for skip in chance.sample(range(among), times):
            line.fail(point, chance.choice((Way.RESET, Way.CLOSE)), times=1, skip=skip)

    return script


def silent(*points: Point) -> Script:
    """One of the first dialogues that come to each of `points` goes on for ever there."""

    def script(line: FaultyProxy, chance: Random, _large: Sequence[str]) -> None:
        for point in points:
            line.fail(point, Way.SILENCE, times=1, skip=chance.randrange(3))

    return script


def amid(way: Way, *, times: int, within: int) -> Script:
    """So many of the large mails fail once, after at most so many bytes of them."""

    def script(line: FaultyProxy, chance: Random, large: Sequence[str]) -> None:
        line.content_bytes = chance.randint(1, within)
        for address in chance.sample(large, times):
            line.fail(Point.CONTENT, way, to=address, times=1)

    return script


FAULTS: Final = (
    Fault("a slow line", dawdling, 0),
    Fault("broken before the greeting", broken(Point.CONNECT, times=3, among=4), 3),
    Fault("broken in EHLO", broken(Point.EHLO, times=3, among=4), 3),
    Fault("broken after MAIL", broken(Point.MAIL, times=6, among=15), 6),
    Fault("broken after RCPT", broken(Point.RCPT, times=6, among=15), 6),
    Fault("broken at the 354", broken(Point.DATA, times=6, among=15), 6),
    Fault("reset right after the 354", amid(Way.RESET, times=3, within=1), 3, LARGE_EVENTS),
    Fault("reset amid the content", amid(Way.RESET, times=3, within=CUT_WITHIN_BYTES), 3, LARGE_EVENTS),
    Fault("no greeting", silent(Point.CONNECT, Point.CONNECT), 2, timeout_seconds=1),
    Fault("silent dialogues", silent(Point.EHLO, Point.MAIL, Point.RCPT, Point.DATA), 4, timeout_seconds=1),
    Fault("silent amid the content", amid(Way.SILENCE, times=2, within=1), 2, LARGE_EVENTS, timeout_seconds=1),
)


def seeded(seed: int | str) -> Random:
    """Chance that is the same in every run."""
    return Random(seed)  # noqa: S311 - a fault script, no secret


@pytest.fixture
async def line(world: World) -> AsyncIterator[FaultyProxy]:
    """The way to the SMTP server."""
    async with FaultyProxy(world.smtp.host, world.smtp.port) as proxy:
        yield proxy


async def worker_at(world: World, line: FaultyProxy, **settings: str) -> Worker:
    """A worker whose mail goes by `line`."""
    return await world.worker(EmailSmtpPort=str(line.port), **settings)


def large_message_to(address: str) -> dict[str, Any]:
    """One that does not fit into the buffers on the way."""
    event = message_to(address)
    content = base64.b64encode(seeded(address).randbytes(LARGE_BYTES)).decode()
    event["data"]["attachments"] = [{"filename": "plan.bin", "contentBase64": content}]
    return event


@pytest.mark.parametrize("seed", range(SEED, SEED + cases(1, 10)))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_what_breaks_before_the_end_of_a_mail_costs_nothing(
    world: World, line: FaultyProxy, fault: Fault, seed: int
) -> None:
    """Nothing lost, nothing twice, no attempt counted, nothing dead and nothing left."""
    small, large = addresses(EVENTS), addresses(fault.large, "large")
    fault.script(line, seeded(seed), large)
    await publish_all(world.channel, world.prefix, [*map(large_message_to, large), *map(message_to, small)])
    worker = await worker_at(world, line, NOTIFY_SMTP_TIMEOUT_SECONDS=str(fault.timeout_seconds))
    sent = await _end(world, worker, {*small, *large})
    tell(f"{fault.name}: {len(line.failed)} faults on {line.connections} connections: {sent}, none counted")
    assert sent.is_complete
    assert not sent.repeats
    assert not worker.said(outcome="retry")
    assert [settled["attempt"] for settled in worker.said(outcome="delivered")] == [1] * sent.published
    assert len(line.failed) == fault.failures
    assert fault.failures or not worker.said(outcome="interrupted")
    assert await world.dead_letters() == {}


async def test_what_may_have_been_taken_is_sent_once_more_and_never_a_third_time(
    world: World, line: FaultyProxy
) -> None:
    """Cut after the final dot: unknown, sent again after the first tier; unknown twice, it is for people."""
    due = addresses(EVENTS)
    *once, twice, early, too_early = seeded(SEED).sample(due, 6)
    _cut_at_the_end(line, once, twice, (early, too_early))
    await publish_all(world.channel, world.prefix, map(message_to, due))
    worker = await worker_at(world, line)
    await world.until_unfinished({f"retry.{TIER}": 6})
    assert await _histories(world, 6) == [[[UNKNOWN, TIER]]] * 6
    letter = DeadLetter.from_headers((await world.dead("exhausted")).headers)
    sent = await _end(world, worker, due)
    unknown = [record for record in await _journal(world, delivered=len(due) - 1) if record.unknown]
    waits = sorted(repeat.again - repeat.first for repeat in sent.repeats)
    tell(
        f"cut after the final dot: {sent} under one Message-ID after {waits[0]:.1f} to {waits[-1]:.1f} s, none "
        f"thrice; cut amid a short mail: 2, not twice; {len(unknown)} outcomes unknown, 1 dead letter"
    )
    assert sent.is_complete
    assert Counter(repeat.address for repeat in sent.repeats) == Counter([*once, twice])
    assert waits[0] >= RETRY_TIERS[TIER]
    assert Counter((record.what, record.code) for record in unknown) == {
        (What.RETRY, "smtp-unreachable"): 6,
        (What.DEAD, "smtp-unreachable"): 1,
    }
    assert (letter.code, letter.owed, letter.attempts) == ("smtp-unreachable", "0", 2)
    assert _attempts(letter.history) == [[UNKNOWN, TIER], [UNKNOWN, "dead"]]
    assert Counter(settled["attempt"] for settled in worker.said(outcome="delivered")) == {1: EVENTS - 6, 2: 5}
    assert await world.dead_letters() == {}


def _cut_at_the_end(line: FaultyProxy, once: Iterable[str], twice: str, early: Iterable[str]) -> None:
    """After the final dots of `once` and, again and again, of `twice`; amid the short mails to `early`.

    Those are handed over before the server has read half of them: the worker cannot tell it from the others.
    """
    for address in once:
        line.fail(Point.DOT, Way.RESET, to=address, times=1)
    for address in early:
        line.fail(Point.CONTENT, Way.RESET, to=address, times=1)
    line.fail(Point.DOT, Way.CLOSE, to=twice)


async def _end(world: World, worker: Worker, due: Iterable[str]) -> Tally:
    """Waits until all is sent and the worker has stopped; how it went."""
    due = set(due)
    await until_sent(world.smtp, due, 50)
    await world.until_unfinished({})
    assert await worker.stop() == 0
    assert await world.unfinished() == {}
    return tally(due, world.smtp.accepted)


async def _histories(world: World, count: int) -> list[list[list[str]]]:
    """What the copies in the first tier remember; they are put back."""
    copies = [await take(world.channel, retry_tier(TIER, world.prefix)) for _ in range(count)]
    for copy in copies:
        await copy.nack(requeue=True)
    return [_attempts(str(copy.headers["notify-history"])) for copy in copies]


def _attempts(history: str) -> list[list[str]]:
    """Code and tier of each attempt."""
    return [attempt[1:] for attempt in json.loads(history)]


async def _journal(world: World, *, delivered: int) -> list[Record]:
    """The journal up to the point where so many mails are delivered."""
    records: list[Record] = []

    async def read(group: AbstractIncomingMessage) -> None:
        records.extend(map(Record.read, group.body.splitlines()))
        await group.ack()

    async with await aio_pika.connect(world.url) as connection, connection.channel() as channel:
        await channel.set_qos(prefetch_count=100)
        stream = await channel.get_queue(journal_stream(world.prefix), ensure=False)
        await stream.consume(read, arguments={"x-stream-offset": "first"})
        await until(lambda: sum(record.what is What.DELIVERED for record in records) >= delivered)
    return records
