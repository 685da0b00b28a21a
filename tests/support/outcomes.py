"""A journal as workers leave it behind, of any length: each outcome of an event and a mail of its own."""

import asyncio
from collections.abc import Iterator
from itertools import islice

import aio_pika
from aio_pika.abc import AbstractConnection

from contracts.journal import CONTENT_TYPE, SETTINGS_REV_HEADER, WORKER_HEADER, Record, What
from contracts.topology import journal_stream, journal_topology, topology
from worker.broker import connect
from worker.declare import declare

WORKER = "mail-1/4711/0.1.0/9f2c01ab"
SETTINGS_REV = "6d1f0c2b9a3e"
UNCONFIRMED = 500


async def write_outcomes(url: str, prefix: str, count: int, *, in_groups_of: int) -> None:
    """Fills the journal with deliveries, so many to a message of the stream."""
    async with await connect(url, "test") as connection:
        await declare(connection, topology(prefix))
        await declare(connection, journal_topology(prefix))
        await _published(connection, journal_stream(prefix), _groups(count, in_groups_of))


async def _published(connection: AbstractConnection, stream: str, groups: Iterator[bytes]) -> None:
    channel = await connection.channel()
    headers = {WORKER_HEADER: WORKER, SETTINGS_REV_HEADER: SETTINGS_REV}
    while bodies := list(islice(groups, UNCONFIRMED)):
        messages = [
            aio_pika.Message(
                body,
                headers=dict(headers),
                content_type=CONTENT_TYPE,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            for body in bodies
        ]
        await asyncio.gather(*(channel.default_exchange.publish(it, stream) for it in messages))


def _groups(count: int, size: int) -> Iterator[bytes]:
    for start in range(0, count, size):
        yield b"\n".join(outcome(number).line() for number in range(start, min(start + size, count)))


def outcome(number: int) -> Record:
    """The record of delivery `number`, as long as real ones are."""
    return Record(
        at=f"2026-11-24T12:{number // 60_000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}Z",
        what=What.DELIVERED,
        mail=f"{number:032x}",
        event=f"event-{number}",
        type="com.contensis.workflow.submit.v1",
        detail="250 2.0.0 Ok: queued as 4F2A1",
        lane="standard",
        attempt=1,
        trace=f"{number + 1:032x}",
    )
