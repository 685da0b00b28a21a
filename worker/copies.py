"""The messages a settlement publishes: the original's body and headers, and what the worker adds to them.

Headers of the broker's own are never carried over: an `x-death` that is kept can make a retry tier drop the
copy as a cycle, and `CC` would multiply it. Together they stay far below 128 KiB, where RabbitMQ closes the
connection.
"""

import json
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

import aio_pika
from opentelemetry.trace import Span
from pamqp.encode import field_table

from contracts.dead_letter import ABOUT, HEADER_PREFIX, DeadLetter, fingerprint, rfc3339
from contracts.events import Event
from worker import owed, telemetry
from worker.delivery import Delivery
from worker.errors import PermanentError, TransientError
from worker.redact import Redactor
from worker.verdict import DeadCopy, RetryCopy

REMEMBERED_ATTEMPTS: Final = 8
LONGEST_PART: Final = 100
LONGEST_PROPERTY: Final = 255
MAX_KEPT_HEADER_BYTES: Final = 64 * 1024
BROKER_HEADERS: Final = (
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",
    "x-opt-",
)
COUNTED: Final = ("x-delivery-count", "x-acquired-count", "x-stream-", "x-opt-")
SENDER_SELECTED: Final = ("cc", "bcc")
CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True)
class History:
    """The last attempts of an event, as the header `notify-history` keeps them: JSON of [time, code, tier]."""

    entries: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """What `written` wrote; empty for anything else."""
        try:
            entries = json.loads(text) if text else []
            return cls(tuple((str(when), str(code), str(tier)) for when, code, tier in entries))
        except (ValueError, TypeError, RecursionError):
            return cls()

    def plus(self, when: datetime, code: str, tier: str) -> "History":
        """This history with one more attempt."""
        return History((*self.entries, (rfc3339(when), code, tier)))

    def written(self) -> str:
        """The header's value: the last attempts; empty without any."""
        last = [[part[:LONGEST_PART] for part in entry] for entry in self.entries[-REMEMBERED_ATTEMPTS:]]
        return json.dumps(last, separators=(",", ":")) if last else ""


UNKNOWN_MARK: Final = "(outcome unknown)"


@dataclass(frozen=True, slots=True)
class Copies:
    """Makes the copies; `settings_rev` is the revision of the settings they were tried under, by `worker`."""

    redact: Redactor
    settings_rev: str
    worker: str

    def retry(
        self, delivery: Delivery, event: Event | None, copy: RetryCopy, span: Span, now: datetime
    ) -> aio_pika.Message:
        """The copy that waits in a tier and comes back."""
        headers: dict[str, Any] = {
            "notify-copy-id": ulid(now),
            "notify-attempts": copy.attempts,
            "notify-owed": owed.written(copy.owed),
            "notify-unknown": owed.written(copy.unknown),
            "notify-origin-key": delivery.origin_key,
            "notify-attempt-traceparent": telemetry.recorded_traceparent(span),
            "notify-redrives": delivery.redrives or "",
            "notify-redriven-by": delivery.redriven_by,
            "notify-note": delivery.note,
            "notify-edited-from": delivery.edited_from,
        }
        first_failed = delivery.first_failed
        history = History.read(delivery.history)
        if copy.error:
            history = history.plus(now, _code(copy.error), copy.tier)
            first_failed = first_failed or now
        headers["notify-history"] = history.written()
        if first_failed:
            headers["notify-first-failed"] = rfc3339(first_failed)
        return _message(delivery, event, headers, span)

    def dead(
        self, delivery: Delivery, event: Event | None, copy: DeadCopy, span: Span, now: datetime
    ) -> aio_pika.Message:
        """The dead letter."""
        about = ABOUT[copy.error.reason]
        letter = DeadLetter(
            dead_id=ulid(now),
            dead_class=about.dead_class,
            code=copy.error.reason,
            text=about.text,
            hint=copy.error.hint,
            setting=",".join(copy.error.settings),
            detail=self.redact(_detail(copy)),
            fingerprint=fingerprint(copy.error.reason, delivery.lane),
            settings_rev=self.settings_rev,
            attempts=copy.attempts,
            history=History.read(delivery.history).plus(now, _code(copy.error), "dead").written(),
            first_failed=rfc3339(delivery.first_failed or now),
            died=rfc3339(now),
            origin_queue=delivery.queue,
            origin_key=delivery.origin_key,
            event_id=event.id if event else "",
            event_type=event.type if event else "",
            owed=owed.written(copy.owed),
            worker=self.worker,
            attempt_traceparent=telemetry.recorded_traceparent(span),
            redrives=delivery.redrives,
            redriven_by=delivery.redriven_by,
            note=delivery.note,
            edited_from=delivery.edited_from,
        )
        return _message(delivery, event, letter.to_headers(), span)


def ulid(now: datetime) -> str:
    """26 characters that sort by time: 48 bits of milliseconds, 80 random ones, in Crockford's base 32."""
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _code(error: PermanentError | TransientError) -> str:
    unknown = isinstance(error, TransientError) and error.unknown
    return f"{error.reason} {UNKNOWN_MARK}" if unknown else str(error.reason)


def _detail(copy: DeadCopy) -> str:
    others = f"; other mails of this event: {', '.join(copy.others)}" if copy.others else ""
    return f"{copy.error.detail}{others}".removeprefix("; ")


def _message(delivery: Delivery, event: Event | None, headers: dict[str, Any], span: Span) -> aio_pika.Message:
    original = delivery.message
    kept = carried_over(original.headers)
    # The creation context of the trace never changes; an event without one begins its trace here.
    if not telemetry.context_of(delivery.traceparent):
        kept |= _origin(event, span)
    return aio_pika.Message(
        original.body,
        headers={name: value for name, value in {**_bounded(kept), **headers}.items() if value != ""},
        content_type=short(original.content_type),
        content_encoding=short(original.content_encoding),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=original.priority,
        correlation_id=short(original.correlation_id),
        reply_to=short(original.reply_to),
        message_id=short(original.message_id),
        timestamp=original.timestamp,
        type=short(original.type),
        app_id=short(original.app_id),
    )


def carried_over(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a message that its copy has as well: not the broker's, not the worker's, not too much."""
    return _bounded({name: value for name, value in headers.items() if not _is_dropped(name)})


def unchanged(headers: Mapping[str, Any]) -> dict[str, Any]:
    """All headers of a message that is published once more as it was, but what the broker counts in them."""
    kept = {name: value for name, value in headers.items() if not name.lower().startswith(COUNTED)}
    return {name: _writable(value) for name, value in kept.items() if _size(name, _writable(value))}


def _origin(event: Event | None, span: Span) -> dict[str, str]:
    """Where the trace began, for whoever has the copy next: what is not sampled stays so."""
    if event and telemetry.context_of(event.traceparent or ""):
        return {"traceparent": event.traceparent or "", "tracestate": event.tracestate or ""}
    return dict(zip(("traceparent", "tracestate"), telemetry.trace_of(span), strict=True))


def short(text: str | None) -> str | None:
    """A property as it can be written: 255 bytes at most. What was no UTF-8 has grown when it was read."""
    return text.encode()[:LONGEST_PROPERTY].decode(errors="ignore") if text else text


def _is_dropped(name: str) -> bool:
    lowered = name.lower()
    return lowered.startswith((*BROKER_HEADERS, HEADER_PREFIX)) or lowered in SENDER_SELECTED


def _bounded(headers: dict[str, Any]) -> dict[str, Any]:
    """The headers that can be published: not those the client cannot write, nor the largest of too many."""
    headers = {name: _writable(value) for name, value in headers.items()}
    sizes = {name: size for name, value in headers.items() if (size := _size(name, value))}
    for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
        if sum(sizes.values()) <= MAX_KEPT_HEADER_BYTES:
            break
        del sizes[name]
    return {name: headers[name] for name in headers if name in sizes}


def _writable(value: Any) -> Any:
    # What is not UTF-8 is read as bytes, which the client writes only as a byte array.
    match value:
        case bytes():
            return bytearray(value)
        case Decimal():
            # RabbitMQ closes the connection when it converts a decimal for a stream, as that of dead letters.
            return str(value)
        case list():
            return [_writable(item) for item in value]
        case dict():
            return {name: _writable(item) for name, item in value.items()}
        case _:
            return value


def _size(name: str, value: Any) -> int:
    """Bytes of a header on the wire; 0 for one that the client cannot write."""
    try:
        return len(field_table({name: value}))
    except (TypeError, ValueError, OverflowError, struct.error):
        return 0
