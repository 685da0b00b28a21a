"""A delivery that the broker repeats is adopted by the run that has it, or had it: a mail is not tried twice.

The broker delivers again whatever was not acknowledged when a connection broke. What is in work goes on, and
takes over the newer delivery; what was just settled is acknowledged at once. A retry copy and a redrive are
deliveries of their own, with a copy id that the worker gave them, so they are never taken for what they are
copies of.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import Enum, auto
from typing import Any

from worker.decode import BINARY_PREFIXES
from worker.delivery import Delivery
from worker.recent import Latest


class Begin(Enum):
    """What is to be done with a delivery that has come."""

    RUN = auto()
    LATER = auto()
    ADOPTED = auto()
    SETTLED = auto()


class Runs:
    """The deliveries in work and the latest settled ones, also those that other workers settled."""

    def __init__(self) -> None:
        self._running: dict[str, Delivery] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._settled = Latest()
        self._settled_elsewhere = Latest()
        self._met = Latest()
        self._given_back = Latest()

    def begin(self, delivery: Delivery) -> Begin:
        """Takes a delivery in, whose `run` is known; `end` has to follow a RUN.

        ADOPTED: the run that has it acknowledges it. SETTLED: it has only to be acknowledged. LATER: the same
        copy is in work, published twice because its confirmation was lost; begin again when that has `ended`.
        """
        run = delivery.run
        repeated = delivery.redelivered or bool(delivery.copy_id or delivery.dead_id)
        running = self._running.get(run)
        if repeated and running is not None and running.stale:
            running.adopt(delivery)
            return Begin.ADOPTED
        if (delivery.copy_id or delivery.dead_id) and running is not None:
            return Begin.LATER
        if repeated and self.is_settled(delivery):
            return Begin.SETTLED
        # Published anew, though it may have ended before: whoever publishes twice wants it tried.
        self._settled.discard(run)
        self._running.setdefault(run, delivery)
        self._ends.setdefault(run, asyncio.Event())
        self._met.add(run)
        self._given_back.discard(run)
        return Begin.RUN

    def is_settled(self, delivery: Delivery) -> bool:
        """Whether this or another worker has settled it: its copies are confirmed.

        What another settled may have been published again since, if nothing tells the one from the other.
        """
        return delivery.run in self._settled or (
            delivery.run in self._settled_elsewhere and delivery.is_one_of_its_kind
        )

    def heard_of(self, run: str) -> bool:
        """Whether the journal says that it was settled."""
        return run in self._settled_elsewhere

    def met(self, run: str) -> bool:
        """Whether this worker has had it in work before, or has heard that another settled it."""
        return run in self._met or run in self._settled_elsewhere

    def last_met_here(self, run: str) -> bool:
        """Whether nobody else can have had it since this worker did."""
        return run in self._met and run not in self._given_back

    def given_back(self, run: str) -> None:
        """It goes to whoever comes next."""
        self._given_back.add(run)

    def settled_elsewhere(self, run: str) -> None:
        """Another worker, or one before this, has settled it."""
        self._settled_elsewhere.add(run)

    def settled(self, run: str) -> None:
        """Its mails are sent and its copies confirmed: what comes of it again has only to be acknowledged."""
        self._settled.add(run)

    def end(self, delivery: Delivery) -> None:
        """It is no longer in work."""
        if self._running.get(delivery.run) is delivery:
            del self._running[delivery.run]
            self._ends.pop(delivery.run).set()

    async def ended(self, run: str) -> None:
        """Returns when it is no longer in work."""
        if end := self._ends.get(run):
            await end.wait()


def run_of(delivery: Delivery) -> str:
    """16 hex digits that are the same whenever the broker delivers this message, and for no other message.

    Nothing is made of the bytes yet: some may end whoever does. A retry copy, and a dead letter that is sent
    again, are told from what they are copies of by their own ids; an event published twice, by what a publisher
    sets anew: were it taken for the first, which may have ended as a dead letter, it would not be tried.
    """
    message = delivery.message
    set_anew = (delivery.copy_id, delivery.dead_id, message.message_id, message.timestamp)
    return run_id(delivery.headers, delivery.body, *set_anew)


def run_id(headers: Mapping[str, Any], body: bytes, *set_anew: str | datetime | None) -> str:
    """The run of a message; `set_anew` are its copy id, dead id, message id and timestamp."""
    about = sorted((name, str(value)) for name, value in headers.items() if _is_of_the_event(name))
    parts = (*set_anew, about)
    digest = hashlib.blake2b("\0".join(str(part or "") for part in parts).encode(), digest_size=8)
    digest.update(body)
    return digest.hexdigest()


def _is_of_the_event(header: str) -> bool:
    """Whether an event in binary mode has a part of its envelope there."""
    return header.lower().startswith(BINARY_PREFIXES)
