"""The contract's topology -> the broker: declares what is missing, and says what differs.

RabbitMQ compares arguments for ever and answers 406 with the first that differs. Asking again with the value it
named finds the next, so one start shows every difference.
"""

import re
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from contracts.topology import Argument, Exchange, Queue, Topology
from worker.broker import BrokerRefusedError, end_of, unless_lost

_INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)' for .*? but current is "
    r"(?:the value '(?P<value>[^']*)'|'(?P<plain>[^']*)'|none)"
)
NOT_ARGUMENTS: Final = {"type": "", "durable": "true", "auto_delete": "false", "exclusive": "false"}
MOST_DIFFERENCES: Final = 20


class TopologyDiffersError(Exception):
    """What is declared at the broker has other arguments than the worker needs; `differences` lists all."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__("\n".join(differences))
        self.differences = differences


class NotDeclaredError(Exception):
    """The broker does not make such a queue or exchange at all."""


async def declare(connection: AbstractConnection, topology: Topology) -> None:
    """Declares exchanges, queues and bindings; what is there already stays as it is.

    Raises TopologyDiffersError with every difference, BrokerRefusedError without permission to declare, and
    NotDeclaredError where the broker cannot do what is asked for.
    """
    await unless_lost(end_of(connection), _declare_all(connection, topology))


async def _declare_all(connection: AbstractConnection, topology: Topology) -> None:
    differences = await find_differences(connection, topology)
    if differences:
        raise TopologyDiffersError(differences)
    async with connection.channel() as channel:
        for binding in topology.bindings:
            queue = await channel.get_queue(binding.queue, ensure=False)
            await queue.bind(binding.exchange, binding.key)


async def find_differences(connection: AbstractConnection, topology: Topology) -> list[str]:
    """Declares exchanges and queues; a line for each that exists with other arguments."""
    things: tuple[Exchange | Queue, ...] = (*topology.exchanges, *topology.queues)
    return [line for thing in things if (line := await difference(connection, thing))]


async def difference(connection: AbstractConnection, thing: Exchange | Queue) -> str:
    """Declares `thing`; a line that says how it differs where it is there with other arguments, else empty."""
    wanted: dict[str, Argument | None] = dict(thing.arguments)
    found: list[str] = []
    while (refusal := await _refusal(connection, thing, wanted)) is not None:
        argument, current = refusal
        found.append(f"{argument} is {_shown(current)}, the worker needs {_needed(thing, argument)}")
        if argument in NOT_ARGUMENTS or len(found) > MOST_DIFFERENCES:
            break
        wanted[argument] = current
    return f"{type(thing).__name__.lower()} {thing.name}: {'; '.join(found)}" if found else ""


async def _refusal(
    connection: AbstractConnection, thing: Exchange | Queue, arguments: dict[str, Argument | None]
) -> tuple[str, Argument | None] | None:
    # A refused declaration closes its channel, so each has its own.
    channel = await connection.channel()
    try:
        await _declare(channel, thing, {name: value for name, value in arguments.items() if value is not None})
    except ChannelPreconditionFailed as error:
        return _parsed(thing, str(error))
    except ChannelAccessRefused as error:
        raise BrokerRefusedError(
            f"The broker does not let this user declare {thing.name} ({error}): give it configure, write and "
            "read permissions on the worker's exchanges and queues, and write on amq.default."
        ) from None
    await channel.close()
    return None


async def _declare(channel: AbstractChannel, thing: Exchange | Queue, arguments: dict[str, Argument]) -> None:
    if isinstance(thing, Exchange):
        await channel.declare_exchange(thing.name, thing.type, durable=True, arguments=dict(arguments))
    else:
        await channel.declare_queue(thing.name, durable=True, arguments=dict(arguments))


def _parsed(thing: Exchange | Queue, reply: str) -> tuple[str, Argument | None]:
    match = _INEQUIVALENT.search(reply)
    if match is None:
        raise NotDeclaredError(f"The broker does not declare {thing.name}: {reply}")
    value = match["value"] if match["value"] is not None else match["plain"]
    return match["argument"], int(value) if value is not None and value.lstrip("-").isdigit() else value


def _needed(thing: Exchange | Queue, argument: str) -> str:
    if argument == "type" and isinstance(thing, Exchange):
        return thing.type
    return NOT_ARGUMENTS.get(argument) or _shown(thing.arguments.get(argument))


def _shown(value: Argument | None) -> str:
    return "not set" if value is None else str(value)
