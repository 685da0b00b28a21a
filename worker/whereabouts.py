"""Where the mails of an event are now, as far as their facts tell: each ends in one place, and waits in one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from contracts.dead_letter import ABOUT, Reason
from contracts.journal import What
from contracts.topology import RETRY_TIERS, Lane, dead_queue_of, retry_tier, work_queue
from worker.depths import Depth
from worker.trail import Fact

FINAL: Final = frozenset({What.DELIVERED, What.SUPPRESSED})
TIMING_SECONDS: Final = 30.0
"""How much later than its delay a message may come back from a tier, be sent and be recorded."""

LONG_SECONDS: Final = 120.0
"""From here on, minutes say it better."""


class State(StrEnum):
    """How it stands with a mail."""

    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"
    WAITING = "waiting"
    UNDER_WAY = "under-way"
    DEAD = "dead"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Place:
    """Where `mails` mails are: all of them ended in the same way. `fact` is what was heard of them last.

    `queue` is the full name of the queue that should have them, empty where none has; `until` is when a tier
    gives them back, None where they are in none.
    """

    state: State
    fact: Fact
    mails: int = 1
    queue: str = ""
    until: datetime | None = None


def places(facts: Sequence[Fact], prefix: str, now: datetime) -> list[Place]:
    """Every place where one of the mails of `facts`, oldest first, is; as many mails as it has."""
    counted: dict[tuple[Any, ...], Place] = {}
    for fact in _last_words(facts):
        place = _place(fact, prefix, now)
        alike = (place.state, fact.event, fact.code, fact.tier, fact.dead_id)
        before = counted.get(alike)
        counted[alike] = Place(place.state, fact, before.mails + 1 if before else 1, place.queue, place.until)
    return list(counted.values())


def in_words(place: Place, depths: Mapping[str, Depth], now: datetime) -> str:
    """A sentence; `depths` are those of the queues that could be asked."""
    fact, depth = place.fact, depths.get(place.queue)
    match place.state:
        case State.DELIVERED:
            return f"the mail server took it: {fact.detail or 'it gave no reply'}"
        case State.SUPPRESSED:
            return f"nothing to send: {fact.code}"
        case State.WAITING:
            return f"waits in {place.queue} until about {_clock(place.until)} ({_in(place.until, now)})"
        case State.UNDER_WAY:
            left = f"came back after {fact.tier}" if fact.tier else "was given back"
            return f"{left}, and nothing was heard of it since; {place.queue} {_holds(depth)}"
        case State.DEAD:
            return f"dead in {place.queue}, which {_holds(depth)}" if place.queue else "dead"
        case State.REMOVED:
            return f"{fact.what}: no longer among the dead letters"


def next_step(place: Place, depths: Mapping[str, Depth]) -> str:
    """The command that helps, empty where there is nothing to do."""
    match place.state:
        case State.DEAD if place.fact.dead_id and not _is_empty(depths.get(place.queue)):
            return f"notify-worker dead show {place.fact.dead_id}"
        case State.DEAD:
            return "notify-worker dead list"
        case State.UNDER_WAY:
            return "notify-worker doctor"
        case _:
            return ""


def _last_words(facts: Sequence[Fact]) -> Iterable[Fact]:
    """What was heard last of each mail; of an event without mails, where nothing came later."""
    last: dict[tuple[str, str], Fact] = {}
    removed: dict[str, Fact] = {}
    for fact in facts:
        before = last.get((fact.event, fact.mail))
        if fact.what == What.RESTORED:
            removed.pop(fact.dead_id, None)
        elif fact.what not in _RECORDED and fact.dead_id:
            removed[fact.dead_id] = fact
        elif not (before and before.what == What.DELIVERED):
            last[fact.event, fact.mail] = fact
    with_mails = {event for event, mail in last if mail}
    for (event, mail), fact in last.items():
        if mail or event not in with_mails:
            yield removed.get(fact.dead_id, fact) if fact.dead_id else fact


def _place(fact: Fact, prefix: str, now: datetime) -> Place:
    if fact.what in FINAL:
        return Place(State(fact.what), fact)
    if fact.what == What.DEAD:
        return Place(State.DEAD, fact, queue=_dead_queue(fact.code, prefix))
    if fact.what not in _RECORDED:
        return Place(State.REMOVED, fact)
    until = _back_at(fact)
    if until and now < until + timedelta(seconds=TIMING_SECONDS):
        return Place(State.WAITING, fact, queue=retry_tier(fact.tier, prefix), until=until)
    return Place(State.UNDER_WAY, fact, queue=_work_queue(fact.lane, prefix))


def _back_at(fact: Fact) -> datetime | None:
    try:
        return datetime.fromisoformat(fact.at) + timedelta(seconds=RETRY_TIERS[fact.tier])
    except (ValueError, KeyError, OverflowError):
        return None


def _dead_queue(code: str, prefix: str) -> str:
    return dead_queue_of(ABOUT[Reason(code)].dead_class, prefix) if code in _CODES else ""


def _work_queue(lane: str, prefix: str) -> str:
    return work_queue(Lane(lane), prefix) if lane in _LANES else f"{prefix}.work"


def _clock(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S} UTC" if moment else "an unknown time"


def _in(moment: datetime | None, now: datetime) -> str:
    seconds = (moment - now).total_seconds() if moment else 0.0
    if seconds <= 0:
        return "any moment"
    return f"in {seconds:.0f} s" if seconds < LONG_SECONDS else f"in {seconds / 60:.0f} min"


def _holds(depth: Depth | None) -> str:
    if depth is None:
        return "could not be looked at"
    consumers = f" and has {depth.consumers} consumers" if depth.consumers else ""
    return ("is empty" if _is_empty(depth) else f"holds {depth.messages}") + consumers


def _is_empty(depth: Depth | None) -> bool:
    return depth is not None and not depth.messages


_CODES: Final = frozenset(map(str, Reason))
_RECORDED: Final = frozenset({*FINAL, What.RETRY, What.DEAD, What.INTERRUPTED})
_LANES: Final = frozenset(map(str, Lane))
