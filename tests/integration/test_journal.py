"""The journal at a real broker: written in groups, read along by all, done without where it must be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection

from contracts.journal import Record, What
from contracts.topology import journal_stream, journal_topology, topology
from tests.support.amqp import until
from worker import journal as module
from worker.adoption import Runs
from worker.broker import BrokerUnavailableError, Publisher, connect
from worker.declare import declare
from worker.journal import Journal, JournalMissingError, Publish
from worker.recent import RecentMails

AT = "2026-11-24T12:00:00.000Z"


@dataclass
class Reader:
    """A worker, as far as the journal goes."""

    journal: Journal
    recent: RecentMails
    runs: Runs
    published: list[int] = field(default_factory=list)

    async def delivered(self, *mails: str) -> bool:
        """Records them; whether that was confirmed."""
        for mail in mails:
            self.journal.write(Record(at=AT, what=What.DELIVERED, mail=mail))
        return await self.journal.confirmed()


Starting = Callable[[str], AbstractAsyncContextManager[Reader]]


@pytest.fixture
def starting(broker_url: str, prefix: str) -> Starting:
    """Starts a worker's journal by the worker's name, read up."""

    async def connected() -> AbstractConnection:
        connection = await connect(broker_url, "test")
        await declare(connection, topology(prefix))
        await declare(connection, journal_topology(prefix))
        return connection

    @asynccontextmanager
    async def start(worker: str) -> AsyncIterator[Reader]:
        publisher = Publisher(broker_url, "test")
        published: list[int] = []

        async def publish(exchange: str, key: str, message: aio_pika.Message) -> None:
            published.append(message.body.count(b"\n") + 1)
            await publisher.publish(exchange, key, message)

        reader = _reader(journal_stream(prefix), publish, connected, worker, published)
        async with _running(reader.journal):
            await reader.journal.read_up()
            yield reader
        await publisher.close()

    return start


def _reader(
    stream: str,
    publish: Publish,
    connected: Callable[[], Awaitable[AbstractConnection]],
    worker: str,
    published: list[int] | None = None,
) -> Reader:
    recent, runs = RecentMails(), Runs()
    journal = Journal(
        stream=stream,
        publish=publish,
        connect=connected,
        recent=recent,
        runs=runs,
        worker=worker,
        settings_rev="rev",
    )
    return Reader(journal, recent, runs, published if published is not None else [])


@asynccontextmanager
async def _running(journal: Journal) -> AsyncIterator[None]:
    tasks = {asyncio.create_task(journal.run_writing()), asyncio.create_task(journal.run_reading())}
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_what_one_worker_sent_is_known_to_another(starting: Starting) -> None:
    """Both that runs already, and that starts later."""
    async with starting("one") as one, starting("two") as two:
        assert await one.delivered("a", "b")
        await until(lambda: two.recent.all_delivered(["a", "b"]))
        async with starting("three") as three:
            assert three.recent.all_delivered(["a", "b"])


async def test_what_was_settled_elsewhere_has_only_to_be_acknowledged(starting: Starting) -> None:
    """Its copies are confirmed: whoever gets it again need not try it."""
    async with starting("one") as one, starting("two") as two:
        one.journal.write(Record(at=AT, what=What.DEAD, mail="a", run="4bf92f3577b34da6"))
        await until(lambda: two.runs.heard_of("4bf92f3577b34da6"))


async def test_records_are_written_in_groups(starting: Starting) -> None:
    """A confirmed publish each would cost more than the mail."""
    async with starting("one") as one:
        waiting = [asyncio.create_task(one.delivered(str(n))) for n in range(1000)]
        assert all(await asyncio.gather(*waiting))
        assert sum(one.published) == 1001
        assert len(one.published) < 20
        assert max(one.published) <= module.MOST_LINES


async def test_a_redelivery_is_held_until_its_record_comes(starting: Starting) -> None:
    """The worker that had it may just be writing it."""
    async with starting("one") as one, starting("two") as two:
        held = asyncio.create_task(two.journal.recall("run", ["a"]))
        await asyncio.sleep(0.3)
        assert not held.done()
        await one.delivered("a")
        async with asyncio.timeout(1):
            await held


async def test_a_redelivery_nobody_knows_is_held_for_a_moment_only(starting: Starting) -> None:
    """The worker that had it is dead."""
    async with starting("one") as one:
        clock = asyncio.get_running_loop().time
        begun = clock()
        await one.journal.recall("run", ["a"])
        assert module.HOLD_SECONDS - 0.1 < clock() - begun < module.HOLD_SECONDS + 2


async def test_without_streams_nothing_waits() -> None:
    """It is said once what is lost."""

    async def missing() -> AbstractConnection:
        raise JournalMissingError("no streams here")

    async def publish(exchange: str, key: str, message: aio_pika.Message) -> None:
        raise AssertionError(f"published to {exchange}{key}: {message}")

    reader = _reader("notify.journal", publish, missing, "one")
    async with _running(reader.journal), asyncio.timeout(1):
        await reader.journal.read_up()
        assert not reader.journal.available
        assert await reader.delivered("a")
        await reader.journal.recall("run", ["a"])


async def test_a_journal_that_does_not_confirm_holds_nobody_up_twice(
    starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a memory alarm: one waits its time, the others go on, and all is written when it confirms again."""
    monkeypatch.setattr(module, "CONFIRM_SECONDS", 0.3)
    async with starting("one") as one, starting("two") as two:
        blocked = asyncio.Event()
        publish = one.journal._publish

        async def blocking(exchange: str, key: str, message: aio_pika.Message) -> None:
            if not blocked.is_set():
                raise BrokerUnavailableError("blocked")
            await publish(exchange, key, message)

        one.journal._publish = blocking
        clock = asyncio.get_running_loop().time
        begun = clock()
        assert not await one.delivered("a")
        assert not await one.delivered("b")
        assert clock() - begun < 1
        blocked.set()
        await until(lambda: two.recent.all_delivered(["a", "b"]))
        assert await one.delivered("c")


async def test_what_is_no_record_is_passed_over(starting: Starting, broker_url: str, prefix: str) -> None:
    """Anybody who may write there could write anything."""
    async with starting("one") as one, starting("two") as two:
        async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
            for body in (b"", b"\xff\n[]\n{}\n1", b'{"what": "delivered", "mail": 3, "run": []}'):
                message = aio_pika.Message(body)
                await channel.default_exchange.publish(message, journal_stream(prefix))
        await one.delivered("a")
        await until(lambda: two.recent.all_delivered(["a"]))
