"""What this user may do at the broker: each right is tried out, and nothing is left behind or taken.

RabbitMQ looks at permissions before it looks at anything else. So it is asked for what it answers without doing
it: a binding that does not exist is removed, a consumer is refused for an argument that is none, a message that
no queue takes comes back.
"""

import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import PublishError
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from contracts.topology import Exchange, Queue, Topology
from worker.broker import BrokerRefusedError
from worker.declare import NotDeclaredError, difference

NO_PRIORITY: Final = {"x-priority": "none"}
DEFAULT_EXCHANGE: Final = "amq.default"


class Right(StrEnum):
    """What RabbitMQ gives permission for, by name."""

    CONFIGURE = "configure"
    WRITE = "write"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Trial:
    """One right to one exchange or queue, and how it is tried."""

    right: Right
    name: str
    attempt: Callable[[AbstractChannel], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Rights:
    """`refused` are the rights that this user lacks; `untried` names what is not there."""

    tried: int
    refused: tuple[tuple[Right, str], ...]
    untried: tuple[str, ...]


async def rights(connection: AbstractConnection, wanted: Topology, read: tuple[str, ...]) -> Rights:
    """Tries the rights that a worker needs: to all of `wanted`, and to read the queues of these names."""
    there = {thing.name: await _is_there(connection, thing) for thing in wanted.things}
    present = [thing for thing in wanted.things if there[thing.name]]
    refused = [(Right.CONFIGURE, it.name) for it in present if not await _may_configure(connection, it)]
    trials = [trial for trial in _trials(wanted, read) if there.get(trial.name, True)]
    refused += [(it.right, it.name) for it in trials if not await _is_allowed(connection, it)]
    untried = tuple(name for name, is_there in there.items() if not is_there)
    return Rights(len(present) + len(trials), tuple(refused), untried)


def _trials(wanted: Topology, read: tuple[str, ...]) -> Iterator[Trial]:
    key = f"doctor.{secrets.token_hex(8)}"
    source, any_queue = wanted.exchanges[0].name, wanted.queues[0].name
    yield Trial(Right.WRITE, DEFAULT_EXCHANGE, partial(_returned, key=f"{wanted.prefix}.{key}"))
    for exchange in wanted.exchanges:
        yield Trial(Right.WRITE, exchange.name, partial(_unbound, source, key, exchange.name))
        yield Trial(Right.READ, exchange.name, partial(_unbound_queue, exchange.name, key, any_queue))
    for queue in wanted.queues:
        yield Trial(Right.WRITE, queue.name, partial(_unbound_queue, source, key, queue.name))
    for name in read:
        yield Trial(Right.READ, name, partial(_not_consumed, name))


async def _returned(channel: AbstractChannel, key: str) -> None:
    await channel.basic_publish(b"", exchange="", routing_key=key, mandatory=True)


async def _unbound(source: str, key: str, name: str, channel: AbstractChannel) -> None:
    await channel.exchange_unbind(destination=name, source=source, routing_key=key)


async def _unbound_queue(source: str, key: str, name: str, channel: AbstractChannel) -> None:
    await channel.queue_unbind(name, source, key)


async def _not_consumed(name: str, channel: AbstractChannel) -> None:
    await channel.basic_consume(name, _taken_by_nobody, arguments=dict(NO_PRIORITY))


async def _taken_by_nobody(_message: object) -> None:
    """Never called: there is no such consumer."""


async def _is_allowed(connection: AbstractConnection, trial: Trial) -> bool:
    channel = await connection.channel(on_return_raises=True)
    try:
        await trial.attempt(await channel.get_underlay_channel())
    except ChannelAccessRefused as error:
        # An attempt needs two rights, and the one that is lacking may be the other.
        return f"'{trial.name}'" not in str(error)
    except (ChannelPreconditionFailed, ChannelNotFoundEntity):
        return True
    except PublishError:
        pass
    await channel.close()
    return True


async def _may_configure(connection: AbstractConnection, thing: Exchange | Queue) -> bool:
    try:
        await difference(connection, thing)
    except BrokerRefusedError:
        return False
    except NotDeclaredError:
        pass
    return True


async def _is_there(connection: AbstractConnection, thing: Exchange | Queue) -> bool:
    channel = await connection.channel()
    try:
        if isinstance(thing, Exchange):
            await channel.declare_exchange(thing.name, passive=True)
        else:
            await channel.declare_queue(thing.name, passive=True)
    except ChannelNotFoundEntity:
        return False
    except ChannelAccessRefused:
        return True
    await channel.close()
    return True
