"""Odd messages by the hundred: each is delivered or a dead letter of the contract, and harms nobody else.

`NOTIFY_TEST_SOAK=1` makes it ten thousand.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aio_pika.abc import AbstractIncomingMessage

from contracts.dead_letter import DeadLetter, Reason
from contracts.topology import DEAD_QUEUES, dead_queue, events_exchange
from tests.acceptance.conftest import World
from tests.support.amqp import take_all, until
from tests.support.figures import tell
from tests.support.load import message_to, reset_for
from tests.support.odd_events import CANARY
from tests.support.odd_messages import OddMessage, odd_messages
from tests.support.scale import cases
from tests.support.worker import Worker

BATCH: Final = 200
SETTLE_SECONDS: Final = 60.0
OTHER_LANE_SECONDS: Final = 2.0
REFUSED: Final = f"{CANARY}.h.okafor@broddu.example"
PUT_OFF: Final = f"{CANARY}.d.pritchard@broddu.example"
PUT_OFF_TRIES: Final = 30
"""Three tries at once are made for a mail before its event waits in a tier, with all its odd headers."""

NAME: Final = re.compile(r"odd-\d{5}")


async def test_odd_messages_are_delivered_or_dead_letters_and_harm_nobody(world: World) -> None:
    """Nothing waits or goes round, the other lane is served meanwhile, and nothing odd is in the log."""
    world.smtp.answer("RCPT", f"550 5.1.1 <{REFUSED}>: unknown", to=REFUSED)
    world.smtp.answer("RCPT", f"450 4.2.1 <{PUT_OFF}>: later", to=PUT_OFF, times=PUT_OFF_TRIES)
    worker = await world.worker()
    codes: Counter[Reason] = Counter()
    delays = [0.0]
    messages = await asyncio.to_thread(odd_messages, cases(600, 10_000))
    for start in range(0, len(messages), BATCH):
        batch = {f"odd-{start + n:05}": message for n, message in enumerate(messages[start : start + BATCH])}
        odd_key, ordinary = ("system.x", reset_for) if start // BATCH % 2 else ("password-reset.x", message_to)
        names, reader = list(batch), f"reader{start}@broddu.example"
        await _publish(world, odd_key, names[: BATCH // 2], batch)
        in_between = asyncio.create_task(_seconds_to_mail(world, reader, ordinary(reader)))
        await _publish(world, odd_key, names[BATCH // 2 :], batch)
        codes.update(_checked(letter).code for letter in await _settled(world, worker, batch))
        delays.append(await in_between)
    tell(f"{len(messages)} odd messages, {dict(codes)}; the other lane waited up to {max(delays):.2f} s")
    await world.until_unfinished({})
    assert worker.running
    assert not [line for line in worker.lines if line["level"] == "error"]
    assert not worker.said(action="broker-lost")
    assert Reason.UNEXPECTED not in codes
    assert CANARY not in worker.text.lower()
    assert max(delays) < OTHER_LANE_SECONDS


async def _publish(world: World, key: str, names: Sequence[str], messages: Mapping[str, OddMessage]) -> None:
    exchange = await world.channel.get_exchange(events_exchange(world.prefix), ensure=False)
    await asyncio.gather(*(exchange.publish(messages[name].to_publish(name), key) for name in names))


async def _seconds_to_mail(world: World, address: str, event: dict[str, Any]) -> float:
    """From the broker's confirm of `event` to its mail."""
    await world.publish(event)
    begun = time.monotonic()
    await until(lambda: any(address in mail.recipients for mail in world.smtp.accepted))
    return time.monotonic() - begun


async def _settled(
    world: World, worker: Worker, batch: Mapping[str, OddMessage]
) -> list[AbstractIncomingMessage]:
    """Waits until each of `batch` is known to be delivered or dead; the dead letters."""
    letters: list[AbstractIncomingMessage] = []
    missing, end = set(batch), time.monotonic() + SETTLE_SECONDS
    while missing and time.monotonic() < end:
        for queue in DEAD_QUEUES:
            letters += await take_all(world.channel, dead_queue(queue, world.prefix))
        missing = set(batch) - _delivered(worker) - {letter.message_id for letter in letters}
    assert not missing, "\n".join(f"{name}: {batch[name]!r}" for name in missing)
    return letters


def _delivered(worker: Worker) -> set[str]:
    settled = (*worker.said(outcome="delivered"), *worker.said(outcome="suppressed"))
    return {name for line in settled for name in NAME.findall(line["event_id"])}


def _checked(message: AbstractIncomingMessage) -> DeadLetter:
    letter = DeadLetter.from_headers(message.headers)
    assert CANARY not in f"{letter.detail}{letter.hint}{letter.text}".lower(), message.message_id
    return letter
