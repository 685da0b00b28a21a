"""The journal's line that says what an operator has begun to do with a dead letter, before it is done."""

from datetime import UTC, datetime

from opentelemetry import trace

from contracts.dead_letter import rfc3339
from contracts.journal import Record, What
from worker import telemetry
from worker.desk.letter import Letter
from worker.redact import Redactor

_REDACT = Redactor()


def begun(what: What, letter: Letter, by: str, note: str) -> Record:
    """By whom, and the remark, which holds no address or link any more, are its detail."""
    return Record(
        at=rfc3339(datetime.now(UTC)),
        what=what,
        event=letter.event_id,
        type=letter.event_type,
        code=letter.code,
        detail=_REDACT(f"by {by}: {note}" if note else f"by {by}"),
        lane=letter.lane,
        dead_id=letter.id,
        trace=_trace_id(letter),
    )


def _trace_id(letter: Letter) -> str:
    """The trace that the letter's event belongs to; empty for none."""
    parent = letter.headers.get("traceparent")
    context = telemetry.context_of(parent if isinstance(parent, str) else "")
    return telemetry.trace_id_of(trace.get_current_span(context))
