"""Carries out what becomes of a delivery, in the order that loses nothing: confirmed copies, then the ack.

Publishing is tried until the broker confirms or has taken the delivery back itself; giving up would lose either
the copy or the knowledge of what was sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, assert_never

import aio_pika
import structlog
from opentelemetry.trace import Span, SpanKind

from contracts.dead_letter import ABOUT
from contracts.events import Event, expiry_of
from contracts.signals import Action, Attribute
from contracts.signals import Span as SpanName
from contracts.topology import dead_exchange, retry_tier
from worker import telemetry
from worker.broker import BrokerRefusedError, BrokerUnavailableError
from worker.copies import Copies, History
from worker.delivery import Delivery
from worker.outcome import Dead, Delivered, Interrupted, Outcome, Retry, Suppressed
from worker.verdict import MailOutcome, Past, Settlement, decide

PUBLISH_AGAIN_SECONDS: Final = 1.0

log = structlog.get_logger()


class Publish(Protocol):
    """Returns when the broker has confirmed. Raises BrokerUnavailableError."""

    def __call__(self, exchange: str, key: str, message: aio_pika.Message) -> Awaitable[None]:
        """Publishes `message`, mandatory."""


@dataclass(frozen=True, slots=True)
class Settler:
    """What it takes to settle: a publisher, and who we are."""

    publish: Publish
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
        for exchange, key, message in self._copies(delivery, event, settlement, span, now):
            if not await self._confirmed(delivery, exchange, key, message):
                return
        await (delivery.give_back() if settlement.give_back else delivery.ack())
        self._tell(delivery, event, settlement.mails, span)

    def _copies(
        self, delivery: Delivery, event: Event | None, settlement: Settlement, span: Span, now: datetime
    ) -> Iterator[tuple[str, str, aio_pika.Message]]:
        if settlement.dead:
            error = settlement.dead.error
            key = f"{ABOUT[error.reason].dead_class}.{error.reason}"
            message = self.copies.dead(delivery, event, settlement.dead, span, now)
            yield dead_exchange(self.prefix), key, message
        if settlement.retry:
            message = self.copies.retry(delivery, event, settlement.retry, span, now)
            yield retry_tier(settlement.retry.tier, self.prefix), delivery.queue, message

    async def _confirmed(self, delivery: Delivery, exchange: str, key: str, message: aio_pika.Message) -> bool:
        """Whether the broker took the copy; False where it has taken the delivery back in the meantime."""
        attributes = {Attribute.MESSAGING_SYSTEM: "rabbitmq", Attribute.MESSAGING_ROUTING_KEY: key}
        with telemetry.span(f"{SpanName.SEND} {exchange}", SpanKind.PRODUCER, attributes=attributes):
            while not delivery.stale:
                try:
                    await self.publish(exchange, key, message)
                except (BrokerUnavailableError, BrokerRefusedError) as error:
                    log.warning(
                        "a copy could not be published; trying again",
                        action=Action.BROKER_WAIT,
                        error=str(error),
                    )
                    await asyncio.sleep(PUBLISH_AGAIN_SECONDS)
                else:
                    return True
        return False

    def _tell(self, delivery: Delivery, event: Event | None, mails: Sequence[MailOutcome], span: Span) -> None:
        trace_id = telemetry.trace_id_of(span)
        named = [_named(mail.outcome) for mail in mails]
        for mail, (name, code, detail) in zip(mails, named, strict=True):
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
        span.set_attribute(Attribute.OUTCOME, ",".join(sorted({name for name, _, _ in named})))
        span.set_attribute(Attribute.CODE, ",".join(sorted({code for _, code, _ in named if code})))

    def _past(self, delivery: Delivery, event: Event | None, now: datetime) -> Past:
        return Past(
            attempts=delivery.attempts,
            first_failed=delivery.first_failed or now,
            expires=expiry_of(event) if event else None,
            delivery_count=delivery.delivery_count,
            was_unknown=History.read(delivery.history).has_unknown,
            give_up_seconds=self.give_up_seconds,
        )


def _named(outcome: Outcome) -> tuple[str, str, str]:
    """The outcome's name in logs and spans, the code that says more, and a detail."""
    match outcome:
        case Delivered(reply):
            return "delivered", "", reply
        case Suppressed(why):
            return "suppressed", why, ""
        case Retry(error):
            return "retry", error.reason, error.detail
        case Dead(error):
            return "dead", error.reason, error.detail
        case Interrupted(why, error):
            return "interrupted", why, error.detail if error else ""
        case _:
            assert_never(outcome)


_EXPECTED: Final = (Delivered, Suppressed, Interrupted)
