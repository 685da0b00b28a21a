"""Dead letters are sent again: into the journal that it is begun, into the lane with confirmation, then out.

Whoever is killed in between leaves one of these behind:

* begun, not sent: the letter is in its place; it is sent again later, marked as perhaps a second;
* sent, not out: the letter is in its place; the journal says how the first ended, and it is only taken out;
* out, not noted: the stream of dead letters shows it until somebody looks into the queue.

A second that comes to a worker all the same is known by the dead letter's id, which names the run.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from opentelemetry.trace import SpanKind

from contracts.dead_letter import rfc3339
from contracts.journal import Record, What
from contracts.signals import Attribute
from contracts.signals import Span as SpanName
from worker import telemetry
from worker.desk.begun import begun
from worker.desk.canary import CANARY_SECONDS, Song, Verdict, listen
from worker.desk.case import Case, Fate, Redrive
from worker.desk.holding import Held
from worker.desk.ledger import Ledger
from worker.desk.removal import How
from worker.desk.workplace import Workplace

AT_ONCE: Final = 32
"""So many are under way together, and so many may be in doubt after a kill."""

DOUBT_SECONDS: Final = 10.0
"""How long the outcome of what was perhaps sent before is waited for."""

ROUND_SECONDS: Final = 600.0
"""How long letters are held; the broker takes them away after 30 minutes (its consumer time-out)."""


@dataclass(slots=True)
class Tally:
    """How many letters were sent again, taken out since they had been before, and left since they expired."""

    sent: int = 0
    sent_before: int = 0
    expired: int = 0
    verdict: Verdict | None = None
    canaries: int = 0

    @property
    def done(self) -> int:
        """How many are dealt with."""
        return self.sent + self.sent_before + self.expired


@dataclass(frozen=True, slots=True)
class Options:
    """How letters are sent again: first `canary` of them, at most `rate` a second (0 for no limit)."""

    redrive: Redrive
    canary: int = 0
    rate: float = 0.0
    skip_expired: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """A letter that is held, and its case."""

    held: Held
    case: Case


@dataclass(slots=True)
class Pace:
    """Not more than `rate` a second, from the first on; 0 is no limit."""

    rate: float
    begun: float = 0.0
    count: int = 0

    @property
    def at_once(self) -> int:
        """How many may go together."""
        return max(1, min(AT_ONCE, int(self.rate / 4))) if self.rate else AT_ONCE

    async def turn(self, count: int) -> None:
        """Returns when `count` more may go."""
        now = asyncio.get_running_loop().time()
        self.begun = self.begun or now
        if self.rate:
            await asyncio.sleep(max(self.begun + self.count / self.rate - now, 0))
        self.count += count


@dataclass(slots=True)
class Redriver:
    """Sends held letters again; without a `ledger` nothing is written, and nothing known.

    `told` is called with the tally whenever it has changed.
    """

    place: Workplace
    ledger: Ledger | None
    options: Options
    told: Callable[[Tally], None] = lambda _tally: None
    tally: Tally = field(default_factory=Tally)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self.pace = Pace(self.options.rate)

    @property
    def may_go_on(self) -> bool:
        """Whether no canary has told otherwise."""
        return self.tally.verdict is None or self.tally.verdict.goes_on

    async def send(self, letters: Sequence[Chosen], *, until: float) -> None:
        """Deals with `letters`, whose acknowledgement gives them up, until that moment of the loop's clock.

        Raises BrokerUnavailableError where one is not confirmed; it and all that are not dealt with stay.
        """
        book = self.ledger.book if self.ledger else None
        fates: dict[Fate, list[Chosen]] = {fate: [] for fate in Fate}
        for one in letters:
            fate = one.case.fate(book, datetime.now(UTC), skip_expired=self.options.skip_expired)
            fates[fate].append(one)
        self.tally.expired = len(fates[Fate.EXPIRED])
        await self._take_out(fates[Fate.SENT_BEFORE])
        # What has expired goes last: a canary of that kind would sing of nothing.
        now = datetime.now(UTC)
        due = sorted(fates[Fate.SEND], key=lambda one: one.case.has_expired(now))
        canaries = await self._canary(due, until)
        if self.may_go_on:
            await self._send_all(due[canaries:], until, again=False)
            await self._settle_doubts(fates[Fate.PERHAPS_SENT], until)

    async def _canary(self, due: Sequence[Chosen], until: float) -> int:
        """Sends the first few, once, and waits for what they tell; returns how many they were."""
        if self.ledger is None or not self.options.canary or self.tally.verdict is not None or not due:
            return 0
        first, since = due[: self.options.canary], rfc3339(datetime.now(UTC))
        await self._send_all(first, until, again=False)
        cases, book = [one.case for one in first], self.ledger.book
        await self.ledger.until(lambda: listen(cases, book, since) is not None, CANARY_SECONDS)
        self.tally.canaries = len(first)
        self.tally.verdict = listen(cases, book, since) or Verdict(Song.SILENT)
        return len(first)

    async def _settle_doubts(self, doubtful: Sequence[Chosen], until: float) -> None:
        """What was perhaps sent before: taken out where it has ended, else sent again with a mark."""
        ledger = self.ledger
        if ledger is None or not doubtful:
            return
        book = ledger.book
        await ledger.until(lambda: all(one.case.has_ended(book) for one in doubtful), DOUBT_SECONDS)
        await self._take_out([one for one in doubtful if one.case.has_ended(book)])
        await self._send_all([one for one in doubtful if not one.case.has_ended(book)], until, again=True)

    async def _send_all(self, letters: Sequence[Chosen], until: float, *, again: bool) -> None:
        clock = asyncio.get_running_loop().time
        for some in batches(letters, self.pace.at_once):
            if clock() > until:
                return
            await self.pace.turn(len(some))
            await self._send_some(some, again=again)

    async def _send_some(self, some: Sequence[Chosen], *, again: bool) -> None:
        await self.place.write(self._begun(one) for one in some)
        sending = [asyncio.create_task(self._send_one(one, again=again)) for one in some]
        try:
            await asyncio.wait(sending)
        finally:
            for task in sending:
                task.cancel()
        sent = [one for one, task in zip(some, sending, strict=True) if not task.exception()]
        self.tally.sent += len(sent)
        await self._note(sent)
        for task in sending:
            task.result()

    async def _send_one(self, one: Chosen, *, again: bool) -> None:
        case, letter = one.case, one.held.letter
        before = letter.said("attempt-traceparent")
        origin = letter.headers.get("traceparent")
        with telemetry.span(
            f"{SpanName.REDRIVE} {letter.queue}",
            SpanKind.PRODUCER,
            context=telemetry.context_of(origin if isinstance(origin, str) else ""),
            links=telemetry.links_to(telemetry.context_of(before)),
            attributes={Attribute.MESSAGING_SYSTEM: "rabbitmq", Attribute.CODE: letter.code},
        ) as span:
            message = self.options.redrive.message(
                case,
                now=datetime.now(UTC),
                still_owed=case.still_owed(self.ledger.book if self.ledger else None),
                attempt_traceparent=telemetry.recorded_traceparent(span) or before,
                again=again,
            )
            await self.place.publisher.publish("", case.queue(self.place.prefix), message)
        await one.held.message.ack()

    async def _take_out(self, letters: Sequence[Chosen]) -> None:
        for some in batches(letters, AT_ONCE):
            for one in some:
                await one.held.message.ack()
            self.tally.sent_before += len(some)
            await self._note(some)

    async def _note(self, gone: Sequence[Chosen]) -> None:
        """Says in the stream of dead letters that these are gone."""
        self.told(self.tally)
        said = self.options.redrive
        await self.place.note_removal((one.held.letter.id for one in gone), How.RETRIED, said.by, said.note)

    def _begun(self, one: Chosen) -> Record:
        said = self.options.redrive
        return begun(What.REDRIVEN, one.held.letter, said.by, said.note)


def batches(letters: Iterable[Chosen], size: int) -> Iterator[list[Chosen]]:
    """Groups of `size` in their order; of one AMQP message id there is one in a group.

    The client tells by it which message of a channel it was that no queue takes.
    """
    some: list[Chosen] = []
    names: set[str] = set()
    for one in letters:
        name = one.held.letter.properties.message_id or ""
        if len(some) == size or (name and name in names):
            yield some
            some, names = [], set()
        some.append(one)
        names.add(name)
    if some:
        yield some
