"""Publishing an event by hand, as a publisher should: checked, persistent, mandatory, confirmed."""

import json
from datetime import UTC, datetime
from typing import Any

import aio_pika

from contracts.events import MAX_ROUTING_KEY_BYTES, Event
from contracts.samples import fresh
from contracts.topology import events_exchange
from worker.broker import Publisher
from worker.decode import STRUCTURED, decode


def checked(body: bytes) -> Event:
    """The event in `body`. Raises PermanentError that says what is wrong with it."""
    return decode(body, content_type=STRUCTURED, headers={})


def renewed(body: bytes) -> bytes:
    """The event with a new id, and all its times shifted by one offset so that its own is now.

    Raises PermanentError where `body` is no valid event.
    """
    checked(body)
    return json.dumps(fresh(json.loads(body), datetime.now(UTC))).encode()


async def publish(url: str, prefix: str, body: bytes, *, key: str) -> None:
    """Publishes `body` as a structured-mode event with routing key `key`.

    Raises BrokerUnavailableError without a confirmation, BrokerRefusedError for wrong credentials, and
    ValueError for a key that AMQP cannot carry.
    """
    if not _fits(key):
        raise ValueError("the routing key has to be of 1 to 255 bytes")
    publisher = Publisher(url, "notify-worker/publish")
    try:
        await publisher.publish(events_exchange(prefix), key, _message(body))
    finally:
        await publisher.close()


def _message(body: bytes) -> aio_pika.Message:
    attributes = _attributes(body)
    return aio_pika.Message(
        body,
        content_type=STRUCTURED,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=attributes["id"] if _fits(attributes.get("id", "")) else None,
        timestamp=datetime.now(UTC),
        headers={"traceparent": attributes["traceparent"]} if "traceparent" in attributes else {},
    )


def _fits(text: str) -> bool:
    """Whether AMQP can carry it as a property or routing key: 1 to 255 bytes."""
    return 0 < len(text.encode(errors="replace")) <= MAX_ROUTING_KEY_BYTES


def _attributes(body: bytes) -> dict[str, Any]:
    """The string attributes of an envelope; none where the body is no JSON object."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return {k: v for k, v in event.items() if isinstance(v, str)} if isinstance(event, dict) else {}
