"""The broker's exchanges, queues and bindings beside those of the contract: what is missing, and what differs.

Looking declares nothing. AMQP does not show bindings, so they are seen only where the management API is asked.
"""

import shlex
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from contracts.topology import Binding, Exchange, Queue, Topology
from worker.broker import (
    BROKER_ERRORS,
    BrokerRefusedError,
    BrokerUnavailableError,
    connect,
    hang_up,
    virtual_host,
)
from worker.declare import NotDeclaredError, bind, difference, kind_of
from worker.management import Management

BINDING: Final = "binding"
APPLY: Final = "notify-worker topology apply"


class State(StrEnum):
    """How something of the contract is at the broker. `UNEXPECTED` is at the broker only."""

    PRESENT = "present"
    MISSING = "missing"
    DIFFERS = "differs"
    UNEXPECTED = "unexpected"
    UNSEEN = "unseen"
    DECLARED = "declared"
    REFUSED = "refused"


NOT_DECLARED: Final = frozenset({State.DIFFERS, State.REFUSED})
WRONG: Final = NOT_DECLARED | {State.MISSING, State.UNEXPECTED}


@dataclass(frozen=True, slots=True)
class Found:
    """One exchange, queue or binding: how it is, in what it differs, and the steps that mend it."""

    kind: str
    name: str
    state: State
    text: str = ""
    fix: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether something has to be done."""
        return self.state in WRONG


async def at_the_broker(url: str, wanted: Topology, management: str | None, *, mend: bool) -> list[Found]:
    """A survey of the broker at `url`, and what became of what it lacked where that is to be mended.

    `management` is the URL of its management API. Raises BrokerUnavailableError and BrokerRefusedError.
    """
    bound = await Management.beside(url, management).bindings() if management else None
    async with opened(url) as connection:
        found = await survey(connection, wanted, virtual_host(url), bound)
        return await apply(connection, wanted, found) if mend else found


@asynccontextmanager
async def opened(url: str, purpose: str = "topology") -> AsyncIterator[AbstractConnection]:
    """A connection to look and declare with, named after its purpose.

    Raises BrokerUnavailableError where the broker cannot be reached or goes away, and BrokerRefusedError.
    """
    try:
        connection = await connect(url, f"notify-worker/{purpose}")
        try:
            yield connection
        finally:
            await hang_up(connection)
    except BROKER_ERRORS as error:
        raise BrokerUnavailableError(
            f"The broker cannot be reached ({type(error).__name__}): correct NOTIFY_BROKER_URL, or start it."
        ) from error


async def survey(
    connection: AbstractConnection,
    wanted: Topology,
    host: str,
    bound: Collection[Binding] | None = None,
) -> list[Found]:
    """Everything of `wanted` in its order, then the bindings that lead into its queues and should not.

    `host` is the virtual host, for the commands that mend; `bound` are the bindings that there are, None where
    they cannot be seen. Raises BrokerRefusedError.
    """
    things = [await _look(connection, thing, host) for thing in wanted.things]
    return [*things, *compared(wanted, bound)]


async def apply(connection: AbstractConnection, wanted: Topology, found: list[Found]) -> list[Found]:
    """Declares what a survey found missing, and makes sure of every binding; what became of each.

    Nothing is declared where something differs. Raises BrokerRefusedError.
    """
    if any(it.state is State.DIFFERS for it in found):
        return found
    by_name = {(kind_of(thing), thing.name): thing for thing in wanted.things}
    done = [
        await _made(connection, by_name[it.kind, it.name], it) if it.state is State.MISSING else it
        for it in found
        if it.kind != BINDING
    ]
    refused = {it.name for it in done if it.state is State.REFUSED}
    bindings = [binding for binding in wanted.bindings if binding.queue not in refused]
    await bind(connection, bindings)
    return [*done, *_bound(bindings, found)]


def compared(wanted: Topology, bound: Collection[Binding] | None) -> Iterator[Found]:
    """The bindings of `wanted`, and those of `bound` that lead into its queues and should not."""
    if bound is None:
        yield from (_binding(binding, State.UNSEEN) for binding in wanted.bindings)
        return
    for binding in wanted.bindings:
        yield _binding(binding, State.PRESENT if binding in bound else State.MISSING)
    queues = {queue.name for queue in wanted.queues}
    for binding in sorted(set(bound) - set(wanted.bindings), key=str):
        if binding.queue in queues:
            yield _binding(binding, State.UNEXPECTED)


async def _look(connection: AbstractConnection, thing: Exchange | Queue, host: str) -> Found:
    messages = await _messages(connection, thing)
    if messages is None:
        return Found(kind_of(thing), thing.name, State.MISSING, "is missing", (APPLY,))
    # Declaring what is there changes nothing; it is how the broker is made to compare.
    how = await difference(connection, thing)
    if not how:
        return Found(kind_of(thing), thing.name, State.PRESENT)
    return Found(kind_of(thing), thing.name, State.DIFFERS, how, _mend(thing, messages, host))


async def _messages(connection: AbstractConnection, thing: Exchange | Queue) -> int | None:
    """How many messages it holds, none for an exchange; None where it is not there."""
    channel = await connection.channel()
    try:
        if isinstance(thing, Exchange):
            await channel.declare_exchange(thing.name, passive=True)
            messages = 0
        else:
            queue = await channel.declare_queue(thing.name, passive=True)
            messages = queue.declaration_result.message_count or 0
    except ChannelNotFoundEntity:
        return None
    except ChannelAccessRefused as error:
        raise BrokerRefusedError(
            f"The broker does not let this user look at {thing.name} ({error}): use the worker's own user."
        ) from None
    await channel.close()
    return messages


def _mend(thing: Exchange | Queue, messages: int, host: str) -> tuple[str, ...]:
    if isinstance(thing, Exchange):
        return (
            f"on the management pages: Exchanges, {thing.name}, Delete (publishing fails until the next step)",
            APPLY,
        )
    delete = f"rabbitmqctl delete_queue --vhost {shlex.quote(host)} {shlex.quote(thing.name)}"
    if not messages:
        return (delete, APPLY)
    keep = f"{thing.name}.kept"
    return (
        f"on the management pages: Queues, {thing.name}, Move messages ({messages}) to a new queue {keep}",
        delete,
        APPLY,
        f"on the management pages: move the messages of {keep} back, and delete it",
    )


async def _made(connection: AbstractConnection, thing: Exchange | Queue, found: Found) -> Found:
    try:
        how = await difference(connection, thing)
    except NotDeclaredError as error:
        return replace(found, state=State.REFUSED, text=str(error), fix=())
    return replace(found, state=State.DIFFERS if how else State.DECLARED, text=how, fix=())


def _bound(bindings: list[Binding], found: list[Found]) -> Iterator[Found]:
    missed = {it.name for it in found if it.state is State.MISSING}
    for binding in bindings:
        now = _binding(binding, State.PRESENT)
        yield replace(now, state=State.DECLARED) if now.name in missed else now
    yield from (it for it in found if it.state is State.UNEXPECTED)


def _binding(binding: Binding, state: State) -> Found:
    key = f" with key {binding.key}" if binding.key else ""
    name = f"{binding.exchange} to {binding.queue}{key}"
    match state:
        case State.MISSING:
            return Found(BINDING, name, state, "is missing", (APPLY,))
        case State.UNEXPECTED:
            fix = f"on the management pages: Queues, {binding.queue}, Bindings, Unbind"
            return Found(BINDING, name, state, "is not of the contract", (fix,))
        case _:
            return Found(BINDING, name, state)
