"""Dead letters by the hundred, as a worker publishes them."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from contracts.dead_letter import ABOUT, DeadLetter, Reason, fingerprint, rfc3339
from contracts.events import EVENT
from contracts.topology import Lane, dead_exchange, journal_topology, work_queue
from worker.broker import connect
from worker.copies import ulid
from worker.declare import declare
from worker.decode import STRUCTURED

UNCONFIRMED_AT_MOST = 100


async def declare_journal(url: str, prefix: str) -> None:
    """The streams, as a worker declares them."""
    connection = await connect(url, "test")
    async with connection:
        await declare(connection, journal_topology(prefix))


def dead(
    event: dict[str, Any],
    reason: Reason,
    prefix: str,
    *,
    lane: Lane = Lane.STANDARD,
    owed: str = "",
    **more: Any,
) -> aio_pika.Message:
    """The dead letter of `event`; `more` are fields of the record."""
    now, about = datetime.now(UTC) - timedelta(seconds=1), ABOUT[reason]
    fields = {
        "dead_id": ulid(now),
        "dead_class": about.dead_class,
        "code": reason,
        "text": about.text,
        "hint": about.hint,
        "setting": ",".join(about.settings),
        "fingerprint": fingerprint(reason, lane),
        "attempts": 1,
        "first_failed": rfc3339(now),
        "died": rfc3339(now),
        "origin_queue": work_queue(lane, prefix),
        "origin_key": EVENT.validate_python(event).routing_key(),
        "event_id": event["id"],
        "event_type": event["type"],
        "owed": owed,
        "worker": "test/1/0",
    }
    letter = DeadLetter.model_validate(fields | more)
    return aio_pika.Message(
        json.dumps(event).encode(),
        content_type=STRUCTURED,
        message_id=event["id"],
        headers={**letter.to_headers(), "x-tenant": "a publisher's own"},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        timestamp=now,
    )


def id_of(message: aio_pika.Message | AbstractIncomingMessage) -> str:
    """The letter's id."""
    return str(message.headers["notify-dead-id"])


def key_of(message: aio_pika.Message) -> str:
    """The routing key it is published with."""
    return ".".join(str(message.headers[f"notify-{name}"]) for name in ("class", "code"))


async def bury(channel: AbstractChannel, prefix: str, messages: Iterable[aio_pika.Message]) -> list[str]:
    """Publishes dead letters in their order, confirmed; their ids."""
    exchange = await channel.get_exchange(dead_exchange(prefix), ensure=False)
    ids, publishing = [], []
    for message in messages:
        ids.append(id_of(message))
        key = key_of(message)
        publishing.append(asyncio.create_task(_published(exchange, message, key)))
        if len(publishing) == UNCONFIRMED_AT_MOST:
            await asyncio.gather(*publishing)
            publishing = []
    await asyncio.gather(*publishing)
    return ids


async def _published(exchange: aio_pika.abc.AbstractExchange, message: aio_pika.Message, key: str) -> None:
    await exchange.publish(message, key)


Seen = tuple[str, bytes, dict[str, Any]]


def seen(messages: Sequence[AbstractIncomingMessage]) -> list[Seen]:
    """What must stay as it was: keys, bodies and headers, but for the count of deliveries."""
    return [
        (
            message.routing_key or "",
            message.body,
            {name: value for name, value in message.headers.items() if name != "x-delivery-count"},
        )
        for message in messages
    ]
