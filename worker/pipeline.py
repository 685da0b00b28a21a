"""The story of one event: consume -> decode -> render -> deliver -> settle."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind

from contracts.dead_letter import Reason
from contracts.events import Event
from contracts.signals import Action, Attribute
from contracts.signals import Span as SpanName
from contracts.topology import Lane
from worker import metrics, owed, telemetry
from worker.adoption import Begin, Runs, run_of
from worker.decode import decode
from worker.delivery import Delivery
from worker.errors import PermanentError, kind_and_place
from worker.journal import Journal
from worker.outcome import Dead, Delivered, Interrupted, Outcome, Suppressed
from worker.quarantine import Quarantine
from worker.records import record
from worker.redact import Redactor
from worker.render import Addressee, Mail, Renderer
from worker.verdict import MailOutcome

SUSPECT_COUNT: Final = 2
"""So many hand-outs that did not end in a settlement, and unknown here: it may be what ended its workers."""

BUDGET_SECONDS: Final = 120.0
"""How long one delivery may wait for sessions; far below the broker's consumer time-out of 30 minutes."""

log = structlog.get_logger()


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
    """What every delivery goes through; only what does I/O is injected.

    Of one event `mails_at_once` are rendered and under way, so that a large one neither fills the memory nor
    keeps the loop from others.
    """

    renderer: Renderer
    deliver: Deliver
    settle: Settle
    journal: Journal
    runs: Runs
    quarantine: Quarantine
    redact: Redactor
    mails_at_once: int
    clock: Callable[[], float] = time.monotonic

    async def process(self, delivery: Delivery) -> None:
        """Takes one delivery from its bytes to its settlement. Raises nothing but what settling raises."""
        began = self.clock()
        metrics.consumed.add(delivery.queue)
        delivery.run = run_of(delivery)
        suspect = delivery.delivery_count >= SUSPECT_COUNT and not self.runs.met(delivery.run)
        shared = delivery.may_be_a_second or (
            delivery.redelivered and not self.runs.last_met_here(delivery.run)
        )
        if not await self._is_to_be_run(delivery):
            return
        try:
            with self.quarantine.present():
                if suspect:
                    await self._alone(delivery)
                else:
                    await self._run(delivery, shared=shared)
        finally:
            self.runs.end(delivery)
            metrics.process_duration.record(self.clock() - began, delivery.queue)

    async def _alone(self, delivery: Delivery) -> None:
        """Before anything is made of its bytes: that alone may be what ended a worker."""
        await self.journal.recall(delivery.run, [])
        if self.runs.is_settled(delivery):
            await delivery.ack()
        else:
            await self.quarantine.alone()
            await self._run(delivery, shared=False)

    async def _is_to_be_run(self, delivery: Delivery) -> bool:
        while (begin := self.runs.begin(delivery)) is Begin.LATER:
            await self.runs.ended(delivery.run)
        if begin is Begin.RUN:
            if delivery.redelivered:
                metrics.redeliveries.add("rerun")
            return True
        metrics.redeliveries.add(begin.name.lower())
        log.info("a delivery that came again is adopted", action=Action.ADOPT, outcome=begin.name.lower())
        if begin is Begin.SETTLED:
            await delivery.ack()
        return False

    async def _run(self, delivery: Delivery, *, shared: bool) -> None:
        """`shared`: another worker may have had it as well, so that what it recorded is waited for."""
        event = _decoded(delivery)
        with _span(delivery, event) as span:
            await self._send_and_settle(delivery, event, span, shared=shared)

    async def _send_and_settle(
        self, delivery: Delivery, event: Event | PermanentError, span: Span, *, shared: bool
    ) -> None:
        if isinstance(event, PermanentError):
            await self.settle(delivery, None, [MailOutcome(None, "", Dead(event))], span)
            return
        due = self._due(event, delivery)
        if shared:
            await self.journal.recall(delivery.run, [] if isinstance(due, Dead) else [mail.key for mail in due])
            if self.runs.is_settled(delivery):
                await delivery.ack()
                return
        if isinstance(due, Dead):
            await self.settle(delivery, event, [MailOutcome(None, "", due)], span)
            return
        await self.settle(delivery, event, await self._send_all(event, due, delivery, span), span)

    def _due(self, event: Event, delivery: Delivery) -> Sequence[Addressee] | Dead:
        """Those of an event's mails that are owed, or why nobody can tell."""
        try:
            return _due(self.renderer.addressees(event), delivery.owed)
        except PermanentError as error:
            return Dead(error)
        except Exception as bug:  # noqa: BLE001 - whatever nobody named is a bug, shown to operators once
            return Dead(_unexpected(bug))

    async def _send_all(
        self, event: Event, due: Sequence[Addressee], delivery: Delivery, span: Span
    ) -> list[MailOutcome]:
        deadline, turn = self.clock() + BUDGET_SECONDS, asyncio.Semaphore(self.mails_at_once)

        async def send(to: Addressee) -> Outcome:
            async with turn:
                outcome = await self._send_one(event, to, delivery.lane, deadline)
            if isinstance(outcome, Delivered):
                self._record(delivery, event, MailOutcome(to.index, to.key, outcome), span)
            return outcome

        tasks = [asyncio.create_task(send(to)) for to in due]
        await _all_ended(tasks)
        return [
            MailOutcome(to.index, to.key, Interrupted("drain") if task.cancelled() else task.result())
            for to, task in zip(due, tasks, strict=True)
        ]

    async def _send_one(self, event: Event, addressee: Addressee, lane: Lane, deadline: float) -> Outcome:
        if not addressee.wanted:
            return Suppressed("opted-out")
        try:
            mail = self._rendered(event, addressee)
            return await self.deliver(mail, urgent=lane is Lane.URGENT, deadline=deadline)
        except PermanentError as error:
            return Dead(error)
        except Exception as bug:  # noqa: BLE001 - see above
            return Dead(_unexpected(bug))

    def _record(self, delivery: Delivery, event: Event, mail: MailOutcome, span: Span) -> None:
        # At once, not when the whole event is settled: what is not recorded is sent again after a crash.
        trace, now = telemetry.trace_id_of(span), datetime.now(UTC)
        self.journal.write(record(delivery, event, mail, redact=self.redact, trace=trace, now=now))

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
    before = telemetry.context_of(delivery.attempt_traceparent)
    return telemetry.span(
        f"{SpanName.PROCESS} {delivery.queue}",
        SpanKind.CONSUMER,
        context=origin,
        links=telemetry.links_to(before or origin),
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


def _origin(delivery: Delivery, event: Event | PermanentError) -> Context:
    """Where the trace comes from: the header beats the envelope's attribute."""
    header = telemetry.context_of(delivery.traceparent, delivery.tracestate)
    if header or isinstance(event, PermanentError):
        return header
    return telemetry.context_of(event.traceparent or "", event.tracestate or "")


def _unexpected(bug: Exception) -> PermanentError:
    return PermanentError(Reason.UNEXPECTED, kind_and_place(bug))


def _due(all_mails: Sequence[Addressee], text: str) -> Sequence[Addressee]:
    """Those of an event's mails that are owed: all, where the header names none that there is."""
    ranges = owed.read(text)
    return [mail for mail in all_mails if any(mail.index in run for run in ranges)] or all_mails


async def _all_ended(tasks: Sequence[asyncio.Task[Outcome]]) -> None:
    """Waits for all mails. At the drain's deadline the mails are cut off, and what is known is settled."""
    if not tasks:
        return
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
