"""How a mail ended -> what is said of it: in the log, in the span, and as a record of the journal."""

from datetime import datetime
from typing import assert_never

from contracts.dead_letter import rfc3339
from contracts.events import Event
from contracts.journal import Record, What
from worker.delivery import Delivery
from worker.outcome import Dead, Delivered, Interrupted, Outcome, Retry, Suppressed
from worker.redact import Redactor
from worker.verdict import MailOutcome

MAX_DETAIL_CHARACTERS = 500


def named(outcome: Outcome) -> tuple[What, str, str]:
    """What became of the mail, the code that says more, and a detail that is not redacted yet."""
    match outcome:
        case Delivered(reply):
            return What.DELIVERED, "", reply
        case Suppressed(why):
            return What.SUPPRESSED, why, ""
        case Retry(error):
            return What.RETRY, error.reason, error.detail
        case Dead(error):
            return What.DEAD, error.reason, error.detail
        case Interrupted(why, error):
            return What.INTERRUPTED, why, error.detail if error else ""
        case _:
            assert_never(outcome)


def record(
    delivery: Delivery,
    event: Event | None,
    mail: MailOutcome,
    *,
    redact: Redactor,
    trace: str,
    now: datetime,
    run: str = "",
    tier: str = "",
    dead_id: str = "",
) -> Record:
    """The journal's line for `mail`. Give `run` only once the copies of the delivery are confirmed."""
    what, code, detail = named(mail.outcome)
    return Record(
        at=rfc3339(now),
        what=what,
        mail=mail.key,
        event=event.id if event else "",
        type=event.type if event else "",
        code=code,
        detail=redact(detail)[:MAX_DETAIL_CHARACTERS],
        lane=delivery.lane,
        attempt=delivery.attempts + 1,
        tier=tier if what in (What.RETRY, What.INTERRUPTED) else "",
        dead_id=dead_id if what is What.DEAD else "",
        trace=trace,
        run=run,
        unknown=isinstance(mail.outcome, Retry | Dead) and getattr(mail.outcome.error, "unknown", False),
    )
