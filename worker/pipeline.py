"""The story of one event: consume -> decode -> render -> deliver -> settle."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from opentelemetry.trace import Link, Span, SpanKind

from contracts.dead_letter import Reason
from contracts.events import Event
from contracts.signals import Attribute
from contracts.signals import Span as SpanName
from contracts.topology import Lane
from worker import owed, telemetry
from worker.decode import decode
from worker.delivery import Delivery
from worker.errors import PermanentError
from worker.outcome import Dead, Outcome, Suppressed
from worker.render import Addressee, Mail, Renderer
from worker.verdict import MailOutcome

BUDGET_SECONDS: Final = 120.0
"""How long one delivery may wait for sessions; far below the broker's consumer time-out of 30 minutes."""


class Deliver(Protocol):
    """What the pipeline is given to send a mail with."""

    def __call__(self, mail: Mail, *, urgent: bool, deadline: float) -> Awaitable[Outcome]:
        """How the mail ended."""


class Settle(Protocol):
    """What the pipeline is given to settle with."""

    def __call__(
        self, delivery: Delivery, event: Event | None, outcomes: Sequence[MailOutcome], span: Span
    ) -> Awaitable[None]:
        """Publishes what has to be published, then acks."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What every delivery goes through; only what does I/O is injected."""

    renderer: Renderer
    deliver: Deliver
    settle: Settle
    clock: Callable[[], float] = time.monotonic

    async def process(self, delivery: Delivery) -> None:
        """Takes one delivery from its bytes to its settlement. Raises nothing but what settling raises."""
        event = _decoded(delivery)
        with _span(delivery, event) as span:
            if isinstance(event, PermanentError):
                await self.settle(delivery, None, [MailOutcome(None, "", Dead(event))], span)
            else:
                outcomes = await self._send_all(event, delivery)
                await self.settle(delivery, event, outcomes, span)

    async def _send_all(self, event: Event, delivery: Delivery) -> list[MailOutcome]:
        deadline = self.clock() + BUDGET_SECONDS
        due = [
            addressee
            for addressee in self.renderer.addressees(event)
            if owed.is_owed(delivery.owed, addressee.index)
        ]
        urgent = delivery.lane is Lane.URGENT
        outcomes = await asyncio.gather(
            *(self._send_one(event, to, urgent=urgent, deadline=deadline) for to in due)
        )
        return [MailOutcome(to.index, to.key, outcome) for to, outcome in zip(due, outcomes, strict=True)]

    async def _send_one(self, event: Event, addressee: Addressee, *, urgent: bool, deadline: float) -> Outcome:
        if not addressee.wanted:
            return Suppressed("opted-out")
        try:
            return await self.deliver(self._rendered(event, addressee), urgent=urgent, deadline=deadline)
        except PermanentError as error:
            return Dead(error)
        except Exception as bug:  # noqa: BLE001 - whatever nobody named is a bug, shown to operators once
            return Dead(_unexpected(bug))

    def _rendered(self, event: Event, addressee: Addressee) -> Mail:
        attributes = {Attribute.TEMPLATE: addressee.variant, Attribute.LANGUAGE: addressee.language}
        with telemetry.span(f"{SpanName.RENDER} {addressee.variant}", attributes=attributes):
            return self.renderer.render(event, addressee)


def _decoded(delivery: Delivery) -> Event | PermanentError:
    message = delivery.message
    try:
        return decode(
            delivery.body,
            content_type=message.content_type,
            headers=delivery.headers,
            message_type=message.type,
            published=delivery.published,
        )
    except PermanentError as error:
        return error
    except Exception as bug:  # noqa: BLE001 - see above; no bytes may stop the worker
        return _unexpected(bug)


def _span(delivery: Delivery, event: Event | PermanentError) -> AbstractContextManager[Span]:
    origin = _origin(delivery, event)
    before = telemetry.link_to(delivery.attempt_traceparent)
    links: list[Link] = before or telemetry.link_to(origin)
    return telemetry.span(
        f"{SpanName.PROCESS} {delivery.queue}",
        SpanKind.CONSUMER,
        context=telemetry.context_of(origin),
        links=links,
        attributes={
            Attribute.MESSAGING_SYSTEM: "rabbitmq",
            Attribute.MESSAGING_OPERATION_NAME: "process",
            Attribute.MESSAGING_OPERATION_TYPE: "process",
            Attribute.MESSAGING_DESTINATION: delivery.queue,
            Attribute.MESSAGING_ROUTING_KEY: delivery.origin_key,
            Attribute.MESSAGING_MESSAGE_ID: delivery.message.message_id or "",
            Attribute.EVENT_TYPE: "" if isinstance(event, PermanentError) else event.type,
            Attribute.ATTEMPT: delivery.attempts + 1,
            Attribute.REDELIVERED: delivery.redelivered,
        },
    )


def _origin(delivery: Delivery, event: Event | PermanentError) -> str:
    """Where the trace comes from: the header beats the envelope's attribute."""
    attribute = None if isinstance(event, PermanentError) else event.traceparent
    return delivery.traceparent or attribute or ""


def _unexpected(bug: Exception) -> PermanentError:
    # The message of a foreign exception may hold what the event held: only its kind and place are told.
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}" if trace else ""
    return PermanentError(Reason.UNEXPECTED, f"{type(bug).__name__}{place}")
