"""One delivery from the broker: what the flow needs to know of it, and how it goes back."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import ChannelInvalidStateError
from aiormq.exceptions import AMQPError

from contracts.signals import Action
from contracts.topology import Lane

STALE: tuple[type[Exception], ...] = (ChannelInvalidStateError, AMQPError, ConnectionError, TimeoutError)
"""What acknowledging raises when the channel the message came by is gone: the broker delivers it again."""

ANSWER_SECONDS: Final = 2.0
MOST_ATTEMPTS: Final = 1_000_000
LONGEST_KEY: Final = 255
LONGEST_NOTE: Final = 500

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Delivery:
    """A message of a work queue, with the worker's own headers read. Anybody may have written them.

    `message` is the latest that the broker delivered it by: only that one can be acknowledged. `run` names it
    whenever the broker delivers it, once that is known.
    """

    lane: Lane
    queue: str
    message: AbstractIncomingMessage
    run: str = ""

    @property
    def body(self) -> bytes:
        """The bytes as the publisher sent them."""
        return self.message.body

    @property
    def headers(self) -> Mapping[str, Any]:
        """All headers of the message."""
        return self.message.headers

    @property
    def attempts(self) -> int:
        """How many attempts were counted before this one."""
        value = self.headers.get("notify-attempts", 0)
        return min(max(value, 0), MOST_ATTEMPTS) if isinstance(value, int) else 0

    @property
    def origin_key(self) -> str:
        """The routing key the publisher used; a retry copy carries it in a header."""
        return self._text("notify-origin-key")[:LONGEST_KEY] or self.message.routing_key or ""

    @property
    def copy_id(self) -> str:
        """What tells this retry copy from every other message; empty for what a publisher sent."""
        return self._text("notify-copy-id")[:LONGEST_KEY]

    @property
    def dead_id(self) -> str:
        """Which dead letter this was before it was sent again; empty for all others."""
        return self._text("notify-dead-id")[:LONGEST_KEY]

    @property
    def redrives(self) -> int:
        """How often it was sent again from among the dead letters."""
        value = self.headers.get("notify-redrives", 0)
        return min(max(value, 0), MOST_ATTEMPTS) if isinstance(value, int) else 0

    @property
    def redriven_by(self) -> str:
        """Who sent it again last."""
        return self._text("notify-redriven-by")[:LONGEST_KEY]

    @property
    def note(self) -> str:
        """What was remarked when it was sent again last."""
        return self._text("notify-note")[:LONGEST_NOTE]

    @property
    def edited_from(self) -> str:
        """Which dead letter it was before somebody edited it."""
        return self._text("notify-edited-from")[:LONGEST_KEY]

    @property
    def may_be_a_second(self) -> bool:
        """Whether its dead letter may have been sent again before, by a command that was cut off."""
        return bool(self.dead_id and self._text("notify-redrive-again"))

    @property
    def is_one_of_its_kind(self) -> bool:
        """Whether anything tells it from the same event published again."""
        return bool(self.copy_id or self.dead_id or self.message.timestamp)

    @property
    def unknown(self) -> str:
        """Index ranges of the mails that the server may have accepted although no reply came."""
        return self._text("notify-unknown")

    @property
    def owed(self) -> str:
        """Index ranges of the mails still owed, such as `0,3-7`; empty for all."""
        return self._text("notify-owed")

    @property
    def history(self) -> str:
        """JSON of the last attempts."""
        return self._text("notify-history")

    @property
    def attempt_traceparent(self) -> str:
        """The span of the attempt before this one."""
        return self._text("notify-attempt-traceparent")

    @property
    def traceparent(self) -> str:
        """Where the trace of this event began, as the publisher said it in a header."""
        return self._text("traceparent")

    @property
    def tracestate(self) -> str:
        """What tracing systems put beside `traceparent`."""
        return self._text("tracestate")

    @property
    def first_failed(self) -> datetime | None:
        """When the first attempt of this life failed; never in the future."""
        try:
            moment = datetime.fromisoformat(self._text("notify-first-failed"))
            return min(moment.astimezone(UTC), datetime.now(UTC)) if moment.tzinfo else None
        except (ValueError, OverflowError):
            return None

    @property
    def published(self) -> datetime | None:
        """The message's timestamp property, whole seconds."""
        moment = self.message.timestamp
        return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None

    @property
    def redelivered(self) -> bool:
        """Whether the broker handed it out before."""
        return bool(self.message.redelivered)

    @property
    def delivery_count(self) -> int:
        """How often a quorum queue has handed it out before."""
        # On the first hand-out it is another queue's, where the message was looked at before it was moved.
        value = self.headers.get("x-delivery-count", 0) if self.redelivered else 0
        return value if isinstance(value, int) else 0

    @property
    def stale(self) -> bool:
        """Whether its channel is gone, so that the broker has it again or will have."""
        try:
            return self.message.channel.is_closed
        except ChannelInvalidStateError:
            return True

    def adopt(self, newer: "Delivery") -> None:
        """Goes on with the message by which the broker has delivered it again."""
        self.message = newer.message

    async def ack(self) -> None:
        """Tells the broker that this message is done with."""
        await self._answer(lambda message: message.ack(), "a settled delivery was stale; it will be known")

    async def give_back(self) -> None:
        """Back to the queue, for whoever comes next."""
        await self._answer(lambda message: message.nack(requeue=True), "a delivery to give back was stale")

    async def let_die(self) -> None:
        """The broker moves it to the dead letters as it is, without a word about why."""
        await self._answer(lambda message: message.nack(requeue=False), "a delivery to let die was stale")

    async def reject(self) -> None:
        """Back to the queue as one that did harm: it counts toward the delivery limit on every version."""
        await self._answer(lambda message: message.reject(requeue=True), "a delivery to reject was stale")

    async def _answer(
        self, answer: Callable[[AbstractIncomingMessage], Coroutine[Any, Any, None]], stale: str
    ) -> None:
        while True:
            message = self.message
            # The client waits for ever for a connection that broke in the very moment.
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await answer(message)
            except STALE:
                log.debug(stale, action=Action.BROKER_LOST)
            if self.message is message:
                return
            # It was delivered again, and adopted, while the broker was told of the one before.

    def _text(self, name: str) -> str:
        value = self.headers.get(name, "")
        return value if isinstance(value, str) else ""
