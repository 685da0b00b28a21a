"""How an event's mails ended -> what becomes of its delivery. Pure; `settle` carries it out.

One event ends in at most one retry copy and one dead copy.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from contracts.dead_letter import ABOUT, DeadClass, Reason
from contracts.topology import WORK_DELIVERY_LIMIT
from worker.errors import PermanentError, TransientError
from worker.outcome import Dead, Interrupted, Outcome, Retry, Suppressed
from worker.retry import tier_in_time

GIVE_BACKS: Final = WORK_DELIVERY_LIMIT // 4
"""A delivery handed out this often goes round by a tier instead, which starts its delivery count anew."""

INTERRUPTED_TIER: Final = "10s"
_WORST_FIRST: Final = (
    DeadClass.CONFIG,
    DeadClass.POISON,
    DeadClass.EXHAUSTED,
    DeadClass.REJECTED,
    DeadClass.EXPIRED,
)


@dataclass(frozen=True, slots=True)
class MailOutcome:
    """How mail `index` of the event's list ended; `key` is the left part of its Message-ID.

    An event that could not be decoded has one outcome without an index.
    """

    index: int | None
    key: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RetryCopy:
    """Goes to `tier`, owing the mails `owed`; `attempts` counts those that were the messages' own.

    The server may have accepted those that are `unknown`.
    """

    tier: str
    owed: tuple[int, ...]
    attempts: int
    error: TransientError | None
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadCopy:
    """Goes to the dead, owing the mails `owed`, for `error`, the worst there is; `others` are further codes."""

    owed: tuple[int, ...]
    error: PermanentError | TransientError
    others: tuple[Reason, ...]
    attempts: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a delivery, and how its `mails` ended in the end.

    Without `give_back` the original is acked once the copies are confirmed.
    """

    mails: tuple[MailOutcome, ...]
    retry: RetryCopy | None = None
    dead: DeadCopy | None = None
    give_back: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """What a delivery has behind it, and how long it has; the outcome of mails in `unknown` was so before."""

    attempts: int
    first_failed: datetime
    expires: datetime | None
    delivery_count: int
    give_up_seconds: float
    unknown: Sequence[range] = ()

    def was_unknown(self, index: int | None) -> bool:
        """Whether the server may have accepted mail `index` at an attempt before."""
        return any(index in run for run in self.unknown)


def decide(outcomes: Sequence[MailOutcome], past: Past, now: datetime) -> Settlement:
    """The settlement that `outcomes` ask for. Pure."""
    mails = tuple(_given_up(_counted(mail, past), past, now) for mail in outcomes)
    tried_again = [mail for mail in mails if isinstance(mail.outcome, Retry)]
    interrupted = [mail for mail in mails if isinstance(mail.outcome, Interrupted)]
    if interrupted and _may_go_back(mails, past):
        return Settlement(mails, give_back=True)
    return Settlement(
        mails,
        retry=_retry_copy(tried_again, interrupted, past, now),
        dead=_dead_copy([mail for mail in mails if isinstance(mail.outcome, Dead)], past),
    )


def _counted(mail: MailOutcome, past: Past) -> MailOutcome:
    """A mail that meets the server's trouble again and again may be what causes it: then it counts."""
    match mail.outcome:
        case Interrupted(error=TransientError() as error) if past.delivery_count >= GIVE_BACKS:
            return replace(mail, outcome=Retry(error))
        case _:
            return mail


def _given_up(mail: MailOutcome, past: Past, now: datetime) -> MailOutcome:
    if not isinstance(mail.outcome, Retry):
        return mail
    error = mail.outcome.error
    twice_unknown = error.unknown and past.was_unknown(mail.index)
    if twice_unknown or _tier(past, error.retry_after, now) is None:
        return replace(mail, outcome=Dead(error))
    return mail


def _tier(past: Past, hint_seconds: float | None, now: datetime) -> str | None:
    """Where to wait for the next attempt; None at the event's expiry or at the end of patience."""
    until = past.first_failed + timedelta(seconds=past.give_up_seconds)
    if past.expires is not None:
        until = min(until, past.expires)
    return tier_in_time(past.attempts + 1, hint_seconds, now=now, until=until)


def _may_go_back(outcomes: Sequence[MailOutcome], past: Past) -> bool:
    """Whether nothing happened that a second run from the start would repeat or forget."""
    if past.delivery_count >= GIVE_BACKS:
        return False
    for mail in outcomes:
        match mail.outcome:
            case Interrupted("server" | "drain") | Suppressed():
                continue
            case _:
                return False
    return True


def _retry_copy(
    tried_again: Sequence[MailOutcome], interrupted: Sequence[MailOutcome], past: Past, now: datetime
) -> RetryCopy | None:
    if not tried_again and not interrupted:
        return None
    waiting = (*tried_again, *interrupted)
    unknown = _indexes(mail for mail in waiting if past.was_unknown(mail.index) or _is_unknown(mail))
    if not tried_again:
        return RetryCopy(INTERRUPTED_TIER, _indexes(waiting), past.attempts, None, unknown)
    errors = [mail.outcome.error for mail in tried_again if isinstance(mail.outcome, Retry)]
    hints = [error.retry_after for error in errors if error.retry_after is not None]
    tier = _tier(past, max(hints, default=None), now) or INTERRUPTED_TIER
    return RetryCopy(tier, _indexes(waiting), past.attempts + 1, errors[0], unknown)


def _dead_copy(dead: Sequence[MailOutcome], past: Past) -> DeadCopy | None:
    errors = sorted(
        (mail.outcome.error for mail in dead if isinstance(mail.outcome, Dead)),
        key=lambda error: _WORST_FIRST.index(ABOUT[error.reason].dead_class),
    )
    if not errors:
        return None
    others = dict.fromkeys(error.reason for error in errors if error.reason is not errors[0].reason)
    return DeadCopy(_indexes(dead), errors[0], tuple(others), past.attempts + 1)


def _is_unknown(mail: MailOutcome) -> bool:
    return isinstance(mail.outcome, Retry) and mail.outcome.error.unknown


def _indexes(mails: Iterable[MailOutcome]) -> tuple[int, ...]:
    return tuple(mail.index for mail in mails if mail.index is not None)
