"""Dead letters by the thousand, as a worker publishes them, without running one."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import aio_pika
from aio_pika.abc import AbstractChannel

from contracts.dead_letter import ABOUT, DeadLetter, Reason, fingerprint, rfc3339
from contracts.topology import Lane, dead_exchange, work_queue
from worker.copies import ulid

BEGUN = datetime(2026, 11, 24, 9, 58, tzinfo=UTC)
AT_ONCE = 500


def dead_message(
    reason: Reason,
    number: int = 0,
    *,
    lane: Lane = Lane.STANDARD,
    settings_rev: str = "ab12cd34ef56",
    prefix: str = "notify",
    detail: str = "",
    body: bytes = b"",
) -> aio_pika.Message:
    """The `number`th of them; each dies a second after the one before."""
    died = BEGUN + timedelta(seconds=number)
    letter = DeadLetter(
        dead_id=ulid(died),
        dead_class=ABOUT[reason].dead_class,
        code=reason,
        text=ABOUT[reason].text,
        hint=ABOUT[reason].hint,
        setting=",".join(ABOUT[reason].settings),
        detail=detail,
        fingerprint=fingerprint(reason, lane),
        settings_rev=settings_rev,
        attempts=1,
        history=json.dumps([[rfc3339(died), str(reason), "dead"]]),
        first_failed=rfc3339(died),
        died=rfc3339(died),
        origin_queue=work_queue(lane, prefix),
        origin_key="system.warning.test",
        event_id=f"event-{number}",
        event_type="com.contensis.system.message.v1",
        worker="host/1/0",
    )
    return aio_pika.Message(
        body or json.dumps({"id": f"event-{number}", "data": {"text": "x" * 2000}}).encode(),
        headers={**letter.to_headers()},
        content_type="application/cloudevents+json",
        message_id=f"event-{number}",
        timestamp=died,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


async def bury(
    channel: AbstractChannel, prefix: str, reasons: Iterable[Reason], messages: Iterable[aio_pika.Message]
) -> None:
    """Publishes each message as a dead letter of its reason, confirmed."""
    exchange = await channel.get_exchange(dead_exchange(prefix), ensure=False)
    keyed = [(message, key_of(reason)) for reason, message in zip(reasons, messages, strict=True)]
    for some in _parts(keyed):
        await asyncio.gather(*(exchange.publish(message, key) for message, key in some))


def key_of(reason: Reason) -> str:
    """The routing key of such a dead letter."""
    return f"{ABOUT[reason].dead_class}.{reason}"


def _parts(
    keyed: Sequence[tuple[aio_pika.Message, str]],
) -> Iterator[Sequence[tuple[aio_pika.Message, str]]]:
    for begin in range(0, len(keyed), AT_ONCE):
        yield keyed[begin : begin + AT_ONCE]
