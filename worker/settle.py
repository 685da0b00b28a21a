"""Carries out what becomes of a delivery, in the order that loses nothing: copies, the journal, the ack.

Copies are published until the broker confirms them, even where it has taken the delivery back in the meantime:
when it delivers it again, the run is known as settled, and nothing is tried or copied twice.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import aio_pika
import structlog
from opentelemetry.trace import Span, SpanKind

from contracts.dead_letter import ABOUT, Reason, header_name
from contracts.events import Event, expiry_of
from contracts.signals import Action, Attribute
from contracts.signals import Span as SpanName
from contracts.topology import dead_exchange, dead_queue_of, retry_tier
from worker import metrics, owed, telemetry
from worker.adoption import Runs
from worker.broker import BrokerRefusedError, BrokerUnavailableError, MessageRefusedError
from worker.copies import Copies
from worker.delivery import Delivery
from worker.journal import Journal
from worker.outcome import Delivered, Interrupted, Suppressed
from worker.records import named, record
from worker.verdict import MailOutcome, Past, Settlement, decide

PUBLISH_AGAIN_SECONDS: Final = 1.0
TELL_SECONDS: Final = 10.0
DEAD_ID: Final = header_name("dead_id")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Copy:
    """A message to publish, and the queue that it has to get into."""

    exchange: str
    key: str
    message: aio_pika.Message
    queue: str


class Publish(Protocol):
    """Returns when the broker has confirmed. Raises BrokerUnavailableError."""

    def __call__(
        self, exchange: str, key: str, message: aio_pika.Message, *, into: str, patience: float | None
    ) -> Coroutine[Any, Any, None]:
        """Publishes `message`, mandatory; the queue `into` has to be there."""


@dataclass(frozen=True, slots=True)
class Settler:
    """What it takes to settle: a publisher, the journal, the runs that may be adopted, and who we are."""

    publish: Publish
    journal: Journal
    runs: Runs
    prefix: str
    copies: Copies
    give_up_seconds: float
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def settle(
        self, delivery: Delivery, event: Event | None, outcomes: Sequence[MailOutcome], span: Span
    ) -> None:
        """Settles `delivery`, of which the mails ended as `outcomes`, and logs a line for each of them."""
        now = self.now()
        settlement = decide(outcomes, self._past(delivery, event, now), now)
        if settlement.give_back:
            self.runs.given_back(delivery.run)
            await _given_back(delivery)
        else:
            copies = list(self._copies(delivery, event, settlement, span, now))
            try:
                for copy in copies:
                    await self._confirmed(copy)
            except MessageRefusedError as refused:
                await self._left_to_the_broker(delivery, refused)
            else:
                self._record(delivery, event, settlement, span, [copy.message for copy in copies])
                await self.journal.confirmed()
                self.runs.settled(delivery.run)
                await delivery.ack()
        self._tell(delivery, event, settlement.mails, span)
        _count(delivery, event, settlement, self.now())

    async def _left_to_the_broker(self, delivery: Delivery, refused: MessageRefusedError) -> None:
        """An event larger than what the broker takes by now can only be moved by the broker."""
        log.error(
            "the broker takes no copy of an event; it is asked to move the event to the dead letters itself",
            action=Action.SETTLE,
            error=str(refused),
            queue=delivery.queue,
        )
        await delivery.let_die()

    def _copies(
        self, delivery: Delivery, event: Event | None, settlement: Settlement, span: Span, now: datetime
    ) -> Iterator[Copy]:
        if settlement.dead:
            error = settlement.dead.error
            dead_class = ABOUT[error.reason].dead_class
            message = self.copies.dead(delivery, event, settlement.dead, span, now)
            queue = dead_queue_of(dead_class, self.prefix)
            yield Copy(dead_exchange(self.prefix), f"{dead_class}.{error.reason}", message, queue)
        if settlement.retry:
            message = self.copies.retry(delivery, event, settlement.retry, span, now)
            tier = retry_tier(settlement.retry.tier, self.prefix)
            yield Copy(tier, delivery.queue, message, tier)

    async def _confirmed(self, copy: Copy) -> None:
        attributes = {
            Attribute.MESSAGING_SYSTEM: "rabbitmq",
            Attribute.MESSAGING_OPERATION_NAME: "send",
            Attribute.MESSAGING_OPERATION_TYPE: "send",
            Attribute.MESSAGING_DESTINATION: copy.exchange,
            Attribute.MESSAGING_ROUTING_KEY: copy.key,
        }
        began = time.monotonic()
        with telemetry.span(f"{SpanName.SEND} {copy.exchange}", SpanKind.PRODUCER, attributes=attributes):
            while True:
                try:
                    await self._published(copy)
                    break
                except MessageRefusedError:
                    raise
                except (BrokerUnavailableError, BrokerRefusedError) as error:
                    log.warning(
                        "a copy could not be published; trying again",
                        action=Action.BROKER_WAIT,
                        error=str(error),
                    )
                    await asyncio.sleep(PUBLISH_AGAIN_SECONDS)
        metrics.sent.add(copy.exchange)
        metrics.operation_duration.record(time.monotonic() - began, copy.exchange)

    async def _published(self, copy: Copy) -> None:
        """Waits for one confirmation, however long, and says so."""
        publishing = asyncio.create_task(
            self.publish(copy.exchange, copy.key, copy.message, into=copy.queue, patience=None)
        )
        try:
            while not (await asyncio.wait({publishing}, timeout=TELL_SECONDS))[0]:
                log.warning("a copy is not confirmed yet", action=Action.BROKER_WAIT, exchange=copy.exchange)
        finally:
            publishing.cancel()
        publishing.result()

    def _record(
        self,
        delivery: Delivery,
        event: Event | None,
        settlement: Settlement,
        span: Span,
        copies: Sequence[aio_pika.Message],
    ) -> None:
        """What is not delivered; what is, was recorded when the server accepted it."""
        about: dict[str, Any] = {
            "redact": self.copies.redact,
            "trace": telemetry.trace_id_of(span),
            "now": self.now(),
            "run": delivery.run,
            "tier": settlement.retry.tier if settlement.retry else "",
            "dead_id": next((str(copy.headers[DEAD_ID]) for copy in copies if DEAD_ID in copy.headers), ""),
        }
        for mail in settlement.mails:
            if not isinstance(mail.outcome, Delivered):
                self.journal.write(record(delivery, event, mail, **about))

    def _tell(self, delivery: Delivery, event: Event | None, mails: Sequence[MailOutcome], span: Span) -> None:
        trace_id = telemetry.trace_id_of(span)
        names = [named(mail.outcome) for mail in mails]
        for mail, (name, code, detail) in zip(mails, names, strict=True):
            (log.info if isinstance(mail.outcome, _EXPECTED) else log.warning)(
                name,
                action=Action.SETTLE,
                outcome=name,
                event_id=event.id if event else "",
                event_type=event.type if event else "",
                code=code,
                trace_id=trace_id,
                mail=mail.key,
                lane=delivery.lane,
                attempt=delivery.attempts + 1,
                detail=self.copies.redact(detail),
            )
        span.set_attribute(Attribute.MAILS, len(mails))
        span.set_attribute(Attribute.OUTCOME, ",".join(sorted({name for name, _, _ in names})))
        span.set_attribute(Attribute.CODE, ",".join(sorted({code for _, code, _ in names if code})))

    def _past(self, delivery: Delivery, event: Event | None, now: datetime) -> Past:
        return Past(
            attempts=delivery.attempts,
            first_failed=delivery.first_failed or now,
            expires=expiry_of(event) if event else None,
            delivery_count=delivery.delivery_count,
            give_up_seconds=self.give_up_seconds,
            unknown=owed.read(delivery.unknown),
        )


async def _given_back(delivery: Delivery) -> None:
    attributes = {
        Attribute.MESSAGING_SYSTEM: "rabbitmq",
        Attribute.MESSAGING_OPERATION_NAME: "nack",
        Attribute.MESSAGING_OPERATION_TYPE: "settle",
        Attribute.MESSAGING_DESTINATION: delivery.queue,
    }
    with telemetry.span(f"{SpanName.SETTLE} {delivery.queue}", SpanKind.CLIENT, attributes=attributes):
        await delivery.give_back()


def _count(delivery: Delivery, event: Event | None, settlement: Settlement, now: datetime) -> None:
    for mail in settlement.mails:
        name, code, _ = named(mail.outcome)
        metrics.outcomes.add(name, event.type if event else "", code)
        if mail.outcome == Suppressed("duplicate"):
            metrics.duplicates_prevented.add()
    if settlement.retry:
        error = settlement.retry.error
        metrics.retries.add(settlement.retry.tier, error.reason if error else "")
    if settlement.dead:
        reason = settlement.dead.error.reason
        metrics.dead_letters.add(ABOUT[reason].dead_class, reason)
        if reason is Reason.EXPIRED:
            metrics.expired.add()
    if event and not settlement.give_back and not settlement.retry:
        metrics.event_age.record(max((now - event.time).total_seconds(), 0.0), delivery.lane)


_EXPECTED: Final = (Delivered, Suppressed, Interrupted)
