"""Connections to RabbitMQ: the first one, the topology, and publishing that never hangs.

Plain connections that end when they break, instead of the client's self-restoring ones: whoever uses a
connection sees its end, drops what was stale, and opens a new one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionNotAllowed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from yarl import URL

from contracts.signals import Action
from worker.tolerance import read_odd_properties

CONNECT_SECONDS: Final = 10.0
PUBLISH_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
HEARTBEAT_SECONDS: Final = 15
FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 15.0

BROKER_ERRORS: Final = (AMQPError, OSError, TimeoutError, asyncio.InvalidStateError, RuntimeError)
"""What the client raises when the broker is away, closes on us, or does not answer in time.

RuntimeError is its word for using a connection or channel that has ended in the meantime.
"""

T = TypeVar("T")

log = structlog.get_logger()


class BrokerRefusedError(Exception):
    """The broker is there and says no: a wrong password, virtual host or permission. Waiting does not help."""


class BrokerUnavailableError(Exception):
    """The broker did not confirm a publish in time."""


class MessageRefusedError(BrokerUnavailableError):
    """The broker takes no message like this one, such as for its size. To try again does not help."""


@contextmanager
def naming_the_nameless() -> Iterator[None]:
    """What the client says of a connection that just ended without naming it becomes a ConnectionError.

    That is a plain Exception, and StopAsyncIteration while connecting.
    """
    try:
        yield
    except Exception as error:
        if type(error) in (Exception, StopAsyncIteration):
            raise ConnectionError("the connection ended") from error
        raise


def in_words(error: BaseException) -> str:
    """The kind of error and, where it has one, its text: the client's texts hold no secret and no body."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


async def connect(url: str, name: str) -> AbstractConnection:
    """One plain connection, named for the management page.

    Raises BrokerRefusedError where the credentials, virtual host or permissions are wrong, and one of
    BROKER_ERRORS where the broker cannot be reached.
    """
    read_odd_properties()
    address = URL(url)
    if "heartbeat" not in address.query:
        address = address.update_query(heartbeat=HEARTBEAT_SECONDS)
    try:
        with naming_the_nameless():
            return await aio_pika.connect(
                address, timeout=CONNECT_SECONDS, client_properties={"connection_name": name}
            )
    except (ProbableAuthenticationError, AuthenticationError):
        user = address.user or "guest"
        raise BrokerRefusedError(
            f"The broker at {_place(address)} refused user {user!r}: correct the user name or password in "
            "NOTIFY_BROKER_URL."
        ) from None
    except (InvalidFrameError, ConnectionNotAllowed):
        # The client expected open-ok and got the broker's close, whose text it does not keep.
        raise BrokerRefusedError(
            f"The broker at {_place(address)} does not open virtual host {virtual_host(address)!r}: "
            "it does not exist, or this user has no permission there. Correct the path of NOTIFY_BROKER_URL."
        ) from None


async def connect_patiently(
    url: str,
    name: str,
    *,
    refusal_is_final: bool,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> AbstractConnection:
    """Like `connect`, but waits for a broker that cannot be reached, and says so. Never gives up.

    Raises BrokerRefusedError only if `refusal_is_final`: at start it is a wrong setting; later, a broker that
    is just coming up.
    """
    wait = FIRST_WAIT_SECONDS
    while True:
        try:
            return await connect(url, name)
        except BrokerRefusedError as error:
            if refusal_is_final:
                raise
            _say_waiting(url, str(error), wait)
        except BROKER_ERRORS as error:
            _say_waiting(url, in_words(error), wait)
        await sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


def _say_waiting(url: str, error: str, wait: float) -> None:
    log.warning(
        "the broker cannot be reached; trying again",
        action=Action.BROKER_WAIT,
        broker=_place(URL(url)),
        error=error,
        next_try_seconds=round(wait, 1),
    )


async def hang_up(connection: AbstractConnection) -> None:
    """Ends `connection`, within two seconds. Closing waits for the broker, and for whatever was cut off."""
    with suppress(*BROKER_ERRORS), naming_the_nameless():
        async with asyncio.timeout(CLOSE_SECONDS):
            await connection.close()


async def made_ready(
    connection: AbstractConnection, prepare: Callable[[AbstractConnection], Awaitable[None]]
) -> AbstractConnection:
    """`connection` once `prepare` is done with it; hung up where that fails, and the error raised."""
    try:
        await prepare(connection)
    except BaseException:
        await hang_up(connection)
        raise
    return connection


def end_of(connection: AbstractConnection) -> asyncio.Future[str]:
    """Done, and saying why, when the connection, or a channel that is watched, has ended."""
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    connection.close_callbacks.add(lambda *_: lose(lost, "the connection was closed"))
    return lost


async def watch(channel: AbstractChannel, lost: asyncio.Future[str]) -> None:
    """From now on, `lost` is done when `channel` or a consumer on it ends."""
    # The broker closes a channel at its consumer time-out, and cancels a consumer whose queue is deleted.
    channel.close_callbacks.add(lambda *_: lose(lost, "a channel was closed"))
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(lambda _: lose(lost, "the broker cancelled a consumer"))


def lose(lost: asyncio.Future[str], why: str) -> None:
    """Says why all is lost; the first reason stays."""
    if not lost.done():
        lost.set_result(why)


async def unless_lost(lost: asyncio.Future[str], work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. Raises ConnectionError as soon as `lost` is done: the client would wait for ever.

    A connection that breaks in the middle of a request leaves whoever asked without an answer.
    """
    task = asyncio.create_task(work)
    either: set[asyncio.Future[Any]] = {task, lost}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        raise ConnectionError(lost.result())
    with naming_the_nameless():
        return task.result()


async def depths(connection: AbstractConnection, queues: Iterable[str]) -> dict[str, int]:
    """How many messages are ready in each of `queues`, which have to be there."""
    async with connection.channel() as channel:
        found = [await channel.declare_queue(name, passive=True, timeout=PUBLISH_SECONDS) for name in queues]
    return {queue.name: queue.declaration_result.message_count or 0 for queue in found}


class Publisher:
    """Publishes with confirmation over a connection of its own; opened when first needed, and again when lost.

    A connection of its own, since a memory alarm blocks connections that publish, and acks must get through.
    `prepare` is done with each new one, such as declaring what is published to.
    """

    def __init__(
        self, url: str, name: str, prepare: Callable[[AbstractConnection], Awaitable[None]] | None = None
    ) -> None:
        self._url = url
        self._name = name
        self._prepare = prepare
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._lost: asyncio.Future[str] | None = None
        self._opening = asyncio.Lock()
        self.waiting = 0
        """How many wait for a confirmation."""

    async def publish(
        self,
        exchange: str,
        key: str,
        message: aio_pika.Message,
        *,
        into: str = "",
        patience: float | None = PUBLISH_SECONDS,
    ) -> None:
        """Returns when the broker has taken responsibility for `message`, persistent and routed to a queue.

        `into` is a queue that has to be there: where others are bound too, such as the stream of dead letters,
        the broker would take the message without it. Raises BrokerUnavailableError: nothing is known to have
        been taken; it may be published again, unless it is a MessageRefusedError. Without `patience`, seconds,
        it waits for as long as the connection lives: in a memory alarm each new try would be one copy more when
        it ends.
        """
        used: AbstractConnection | None = None
        self.waiting += 1
        try:
            async with asyncio.timeout(patience):
                channel = await self._ready_channel()
                used, lost = self._connection, self._lost
                if lost is None:
                    raise ConnectionError("the connection was closed")
                await unless_lost(lost, _publish(channel, exchange, key, message, into))
        except BROKER_ERRORS as error:
            if used is self._connection and (
                isinstance(error, _GONE) or not isinstance(error, _OF_THE_MESSAGE)
            ):
                await self.close()
            raise BrokerUnavailableError(f"{exchange}: {_why(error)}") from error
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """Ends the connection, if there is one; the next publish opens another."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await hang_up(connection)

    async def _ready_channel(self) -> AbstractChannel:
        async with self._opening:
            if self._connection is None:
                self._connection = await self._opened()
            if self._channel is None or self._channel.is_closed:
                try:
                    with naming_the_nameless():
                        self._channel = await self._connection.channel(on_return_raises=True)
                except BaseException:
                    # It ended while it was being opened, when nobody heard of it: kept, it would stay so.
                    await self.close()
                    raise
            return self._channel

    async def _opened(self) -> AbstractConnection:
        connection = await connect(self._url, self._name)
        self._lost = end_of(connection)
        # The client does not count a connection as closed that ended by itself.
        connection.close_callbacks.add(self._forget)
        return connection if self._prepare is None else await made_ready(connection, self._prepare)

    def _forget(self, connection: AbstractConnection | None, _why: BaseException | None = None) -> None:
        if connection is self._connection:
            self._connection, self._channel = None, None


async def _publish(
    channel: AbstractChannel, exchange: str, key: str, message: aio_pika.Message, into: str
) -> None:
    if into:
        await channel.declare_queue(into, passive=True)
    target = await channel.get_exchange(exchange, ensure=False)
    try:
        await target.publish(message, key, mandatory=True)
    except ChannelPreconditionFailed as refused:
        raise MessageRefusedError(f"{exchange}: {in_words(refused)}") from refused


_GONE: Final = (PublishError, ChannelNotFoundEntity)
"""Said when a queue or exchange was deleted: a new connection declares it again."""

_OF_THE_MESSAGE: Final = (DeliveryError, TimeoutError)
"""Said of one message: the connection is good, or its end will be heard of."""


def _why(error: Exception) -> str:
    # The client's own text of a returned message shows its body.
    if isinstance(error, PublishError):
        return "no queue takes a message with this key"
    if isinstance(error, DeliveryError):
        return "the broker refused the message; the queue may be full"
    return in_words(error)


def virtual_host(url: str | URL) -> str:
    """The virtual host that an amqp:// URL names."""
    return URL(url).path.removeprefix("/") or "/"


def _place(address: URL) -> str:
    return f"{address.host}:{address.port or (5671 if address.scheme == 'amqps' else 5672)}"
