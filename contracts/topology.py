"""Names and arguments of every exchange, queue and binding: what publishers, operators and the worker share.

RabbitMQ compares the arguments of a queue for ever, so they are frozen here and pinned by a test. Each of them
is here because its absence loses mail on some version between 3.10 and 4.x:

* `x-delivery-limit` is written out since 4.x applies 20 by default and 3.10 none. -1 means "unlimited" on 4.x
  but "drop at the first requeue" up to 3.13, hence two thousand million where looking must never destroy.
* `at-least-once` dead-lettering needs `reject-publish`; with `drop-head` it silently becomes at-most-once.
* The delay stands in the name of a retry tier: another delay makes another queue, never an argument conflict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

DEFAULT_PREFIX: Final = "notify"
LOOK_AS_OFTEN_AS_YOU_LIKE: Final = 2_000_000_000
WORK_DELIVERY_LIMIT: Final = 20

Argument = str | int


class Lane(StrEnum):
    """The two work queues: password resets never wait behind other mail."""

    URGENT = "urgent"
    STANDARD = "standard"


LANE_KEYS: Final[Mapping[Lane, tuple[str, ...]]] = {
    Lane.URGENT: ("password-reset.#",),
    Lane.STANDARD: ("workflow.#", "form.#", "system.#"),
}

RETRY_TIERS: Final[Mapping[str, int]] = {"10s": 10, "1m": 60, "5m": 300, "30m": 1800, "2h": 7200}
"""Name of each retry tier -> its delay in seconds, ascending."""

DEAD_QUEUES: Final[Mapping[str, tuple[str, ...]]] = {
    "config": ("config.#",),
    "poison": ("poison.#",),
    "exhausted": ("exhausted.#", "rejected.#", "expired.#"),
}
"""Last part of a dead queue's name -> the routing keys of the dead exchange it takes."""


STREAM_MAX_AGE: Final = "30D"
STREAM_SEGMENT_BYTES: Final = 50_000_000
"""Retention frees whole segments only, so they are kept far smaller than the default of 500 MB."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: Literal["topic", "fanout"]
    arguments: Mapping[str, Argument] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue and the arguments it is declared with."""

    name: str
    arguments: Mapping[str, Argument]


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of `exchange` whose key matches go to `queue`."""

    exchange: str
    key: str
    queue: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Exchanges, queues and bindings that are declared together, under one prefix."""

    prefix: str
    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]

    @property
    def things(self) -> tuple[Exchange | Queue, ...]:
        """Exchanges, then queues: what has to be there before it is bound."""
        return (*self.exchanges, *self.queues)


def events_exchange(prefix: str = DEFAULT_PREFIX) -> str:
    """The exchange publishers send to."""
    return f"{prefix}.events"


def unroutable_exchange(prefix: str = DEFAULT_PREFIX) -> str:
    """The alternate exchange: an event with a mistyped key lands in a queue instead of nowhere."""
    return f"{prefix}.unroutable"


def work_queue(lane: Lane, prefix: str = DEFAULT_PREFIX) -> str:
    """The queue the worker consumes for `lane`."""
    return f"{prefix}.work.{lane}"


def retry_tier(tier: str, prefix: str = DEFAULT_PREFIX) -> str:
    """The name of a retry tier's exchange and of its queue, which are the same."""
    return f"{prefix}.retry.{tier}"


def dead_exchange(prefix: str = DEFAULT_PREFIX) -> str:
    """The exchange dead letters are published to, with key `<class>.<code>`."""
    return f"{prefix}.dead"


def dead_queue(name: str, prefix: str = DEFAULT_PREFIX) -> str:
    """One of the dead queues: config, poison, exhausted or unroutable."""
    return f"{prefix}.dead.{name}"


def desk_lock(prefix: str = DEFAULT_PREFIX) -> str:
    """The queue that a command holds, exclusive, while it changes dead letters."""
    return f"{prefix}.desk"


def journal_stream(prefix: str = DEFAULT_PREFIX) -> str:
    """The stream of what became of every mail, without personal data."""
    return f"{prefix}.journal"


def dead_stream(prefix: str = DEFAULT_PREFIX) -> str:
    """The stream of copies of dead letters, bodies included: for operators only."""
    return f"{prefix}.journal.dead"


def dead_queue_of(dead_class: str, prefix: str = DEFAULT_PREFIX) -> str:
    """The dead queue that takes letters of a class: the key of each begins with it."""
    name = next(name for name, keys in DEAD_QUEUES.items() if f"{dead_class}.#" in keys)
    return dead_queue(name, prefix)


def topology(prefix: str = DEFAULT_PREFIX) -> Topology:
    """Everything the worker cannot do without, under `prefix`."""
    return Topology(prefix, _exchanges(prefix), _queues(prefix), _bindings(prefix))


def journal_topology(prefix: str = DEFAULT_PREFIX) -> Topology:
    """The streams, which a broker may lack: the worker runs without them, and says what is lost."""
    names = (journal_stream(prefix), dead_stream(prefix))
    streams = tuple(Queue(name, _stream_arguments()) for name in names)
    return Topology(prefix, (), streams, (Binding(dead_exchange(prefix), "#", dead_stream(prefix)),))


def _exchanges(prefix: str) -> tuple[Exchange, ...]:
    return (
        Exchange(unroutable_exchange(prefix), "fanout"),
        Exchange(events_exchange(prefix), "topic", {"alternate-exchange": unroutable_exchange(prefix)}),
        Exchange(dead_exchange(prefix), "topic"),
        *(Exchange(retry_tier(tier, prefix), "fanout") for tier in RETRY_TIERS),
    )


def _queues(prefix: str) -> tuple[Queue, ...]:
    return (
        *(Queue(work_queue(lane, prefix), _work_arguments(prefix)) for lane in Lane),
        *(Queue(retry_tier(tier, prefix), _tier_arguments(delay)) for tier, delay in RETRY_TIERS.items()),
        *(Queue(dead_queue(name, prefix), _dead_arguments()) for name in (*DEAD_QUEUES, "unroutable")),
    )


def _bindings(prefix: str) -> tuple[Binding, ...]:
    events, dead = events_exchange(prefix), dead_exchange(prefix)
    return (
        *(Binding(events, key, work_queue(lane, prefix)) for lane, keys in LANE_KEYS.items() for key in keys),
        *(Binding(retry_tier(tier, prefix), "", retry_tier(tier, prefix)) for tier in RETRY_TIERS),
        *(Binding(dead, key, dead_queue(name, prefix)) for name, keys in DEAD_QUEUES.items() for key in keys),
        Binding(unroutable_exchange(prefix), "", dead_queue("unroutable", prefix)),
    )


def _work_arguments(prefix: str) -> dict[str, Argument]:
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": WORK_DELIVERY_LIMIT,
        "x-dead-letter-exchange": dead_exchange(prefix),
        "x-dead-letter-routing-key": "poison.delivery-limit",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _tier_arguments(delay_seconds: int) -> dict[str, Argument]:
    # No dead-letter routing key: the copy keeps its own, the queue it returns to through the default exchange.
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": delay_seconds * 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _dead_arguments() -> dict[str, Argument]:
    return {"x-queue-type": "quorum", "x-delivery-limit": LOOK_AS_OFTEN_AS_YOU_LIKE}


def _stream_arguments() -> dict[str, Argument]:
    return {
        "x-queue-type": "stream",
        "x-max-age": STREAM_MAX_AGE,
        "x-stream-max-segment-size-bytes": STREAM_SEGMENT_BYTES,
    }
