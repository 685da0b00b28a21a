"""One living worker is sent whatever there is: broken, forged, huge and odd messages beside good ones.

Each of them ends as mails, as one that nobody wants, or as a dead letter that says why; nobody waits for them.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from aio_pika.abc import AbstractIncomingMessage

from contracts.dead_letter import DeadLetter, Reason
from contracts.topology import DEAD_QUEUES, dead_queue
from tests.acceptance.conftest import World
from tests.support.amqp import publish, take_all, until
from tests.support.figures import tell
from tests.support.fuzz import CANARY, Fuzzed, fuzzed
from tests.support.load import MESSAGE_ID, reset_for
from tests.support.scale import cases
from tests.support.worker import Worker

BATCH: Final = 100
RESET_SECONDS: Final = 3.0


async def test_whatever_is_published_is_accounted_for(world: World) -> None:
    """Nothing is lost, nothing stays, nothing is quoted in the log, and password resets go on."""
    messages = [fuzzed(number) for number in range(cases(600, 10_000))]
    worker = await world.worker(NOTIFY_RETRY_GIVE_UP_SECONDS="0")
    began = time.monotonic()
    resets = [await _publish_around_a_reset(world, some) for some in _batches(messages)]
    seconds = time.monotonic() - began
    assert await worker.stop() == 0
    assert await world.unfinished() == {}

    dead = await _dead(world)
    letters = [DeadLetter.from_headers(message.headers) for message in dead]
    settled = {line["event_id"] for line in _settled(worker)}
    tell(_told(messages, worker, letters, seconds, resets))

    assert set(Counter(message.message_id for message in dead).values()) == {1}
    assert {message.id for message in messages} <= settled | {message.message_id for message in dead}
    assert Counter(line["mail"] for line in worker.said(outcome="delivered")) == _accepted(world)
    assert len(resets) == sum(1 for to in world.recipients() if to.startswith("reset"))
    assert max(resets) < RESET_SECONDS
    assert Reason.UNEXPECTED not in {letter.code for letter in letters}
    assert not [letter.detail for letter in letters if CANARY in letter.detail]
    assert CANARY not in worker.text
    assert not worker.said(level="error")
    assert not worker.said(action="broker-lost")


async def _publish_around_a_reset(world: World, some: Sequence[Fuzzed]) -> float:
    """Publishes all of `some`; how many seconds a password reset took in the midst of them."""
    middle = len(some) // 2
    await _publish(world, some[:middle])
    publishing = asyncio.create_task(_publish(world, some[middle:]))
    address = f"reset-{some[0].id}@broddu.example"
    began = time.monotonic()
    await world.publish(reset_for(address))
    await until(lambda: any(address in mail.recipients for mail in world.smtp.accepted))
    seconds = time.monotonic() - began
    await publishing
    await world.until_unfinished({})
    return seconds


async def _publish(world: World, some: Sequence[Fuzzed]) -> None:
    await asyncio.gather(
        *(
            publish(
                world.channel, world.prefix, one.key, one.body, one.headers, message_id=one.id, **one.properties
            )
            for one in some
        )
    )


def _batches(messages: Sequence[Fuzzed]) -> list[Sequence[Fuzzed]]:
    return [messages[start : start + BATCH] for start in range(0, len(messages), BATCH)]


async def _dead(world: World) -> list[AbstractIncomingMessage]:
    queues = [dead_queue(name, world.prefix) for name in (*DEAD_QUEUES, "unroutable")]
    return [message for queue in queues for message in await take_all(world.channel, queue)]


def _settled(worker: Worker) -> list[dict[str, str]]:
    return [line for line in worker.said(action="settle") if line["outcome"] in {"delivered", "suppressed"}]


def _accepted(world: World) -> Counter[str]:
    """The mails the server has taken, by what the worker calls them: the first part of their Message-ID."""
    found = [MESSAGE_ID.search(mail.content) for mail in world.smtp.accepted]
    return Counter(match[1].decode().strip("<>").partition("@")[0] for match in found if match)


def _told(
    messages: Sequence[Fuzzed],
    worker: Worker,
    letters: Sequence[DeadLetter],
    seconds: float,
    resets: list[float],
) -> str:
    outcomes = Counter(line["outcome"] for line in worker.said(action="settle"))
    codes = Counter(str(letter.code) for letter in letters)
    return (
        f"fuzz: {len(messages)} messages in {seconds:.0f} s: mails {dict(outcomes)}, {len(letters)} dead "
        f"letters {dict(codes.most_common())}; {len(resets)} resets among them, {max(resets):.2f} s at most"
    )
