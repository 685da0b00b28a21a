"""Publishes one event: `RABBITMQ_URL=amqp://… python publish.py event.json`.

Take `publish` and `routing_key` along; they need aio-pika only.
"""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aio_pika import DeliveryMode, Message, connect
from aio_pika.abc import AbstractChannel

EXCHANGE = os.environ.get("NOTIFY_EXCHANGE", "notify.events")


def routing_key(event: Mapping[str, Any]) -> str:
    """Where the event goes. Raises KeyError for a type that is not of the contract."""
    data = event["data"]
    project = (data.get("resource") or {}).get("projectId") or "none"
    match event["type"]:
        case "com.contensis.entry.workflowEventRaised.v1":
            workflow = data["workflow"]
            parts = ["workflow", project, workflow["id"], workflow["state"], workflow["transition"]["event"]]
        case "com.contensis.formResponse.created.v1":
            parts = ["form", project, data["form"]["id"]]
        case "com.contensis.user.passwordReset.v1":
            parts = ["password-reset", data["reset"]["action"]]
        case "com.contensis.system.message.v1":
            parts = ["system", data["message"].get("severity", "info"), data["message"]["code"]]
        case unknown:
            raise KeyError(unknown)
    return ".".join(parts)


async def publish(channel: AbstractChannel, event: Mapping[str, Any], traceparent: str) -> None:
    """Returns when a queue has the event on disk.

    Raises aio-pika's DeliveryError where the broker refuses it or no queue takes it; the latter happens only at
    a broker without the alternate exchange.
    """
    message = Message(
        json.dumps(event).encode(),
        content_type="application/cloudevents+json",
        message_id=event["id"],
        delivery_mode=DeliveryMode.PERSISTENT,
        headers={"traceparent": traceparent},
    )
    exchange = await channel.get_exchange(EXCHANGE, ensure=False)
    await exchange.publish(message, routing_key(event), mandatory=True, timeout=30)


async def publish_alone(event: Mapping[str, Any], url: str) -> None:
    """With a connection of its own; a program that publishes often keeps connection and channel."""
    async with await connect(url, client_properties={"connection_name": "cms/publish"}) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await publish(channel, event, os.environ.get("TRACEPARENT") or new_trace())


def new_trace() -> str:
    """With OpenTelemetry instead: `propagate.inject(headers)`."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


if __name__ == "__main__":
    event_file = Path(sys.argv[1])
    broker = os.environ.get("RABBITMQ_URL", "amqp://localhost")
    asyncio.run(publish_alone(json.loads(event_file.read_text("utf-8")), broker))
