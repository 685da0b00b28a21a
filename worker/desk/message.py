"""The AMQP message that a letter is published as."""

from collections.abc import Mapping
from typing import Any

import aio_pika

from worker.copies import short
from worker.desk.letter import Properties


def message_of(body: bytes, headers: Mapping[str, Any], said: Properties) -> aio_pika.Message:
    """A persistent message with these parts; properties that are too long are cut."""
    return aio_pika.Message(
        body,
        headers=dict(headers),
        content_type=short(said.content_type),
        content_encoding=short(said.content_encoding),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=said.priority,
        correlation_id=short(said.correlation_id),
        reply_to=short(said.reply_to),
        message_id=short(said.message_id),
        timestamp=said.timestamp,
        type=short(said.type),
        app_id=short(said.app_id),
    )
