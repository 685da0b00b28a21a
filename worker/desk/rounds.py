"""Chosen letters are sent again in rounds: what is held too long is taken away by the broker."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from worker.desk.case import Case, Fate, watch
from worker.desk.holding import held
from worker.desk.ledger import Ledger, Subjects
from worker.desk.letter import Letter
from worker.desk.redrive import ROUND_SECONDS, Chosen, Options, Redriver, Tally
from worker.desk.workplace import Workplace


async def send_again(
    place: Workplace,
    letters: Sequence[Letter],
    options: Options,
    told: Callable[[Tally], None] = lambda _tally: None,
    *,
    round_seconds: float = ROUND_SECONDS,
) -> Tally:
    """Sends `letters` again, in the order of their queues. Raises BrokerUnavailableError.

    Letters that somebody else has taken out meanwhile are passed over.
    """
    waiting, clock = _Waiting(letters), asyncio.get_running_loop().time
    redriver: Redriver | None = None
    while True:
        async with held(place.connection, waiting.queues, waiting.wants) as taken:
            chosen = [Chosen(one, Case.of(one.letter)) for one in taken]
            redriver = redriver or Redriver(place, await read(place, chosen), options, told)
            until = clock() + round_seconds
            await redriver.send(chosen, until=until)
            waiting.ids -= {one.held.letter.id for one in chosen if one.held.message.processed}
        if clock() <= until or not redriver.may_go_on:
            return redriver.tally


async def forecast(place: Workplace, letters: Sequence[Letter], *, skip_expired: bool) -> Counter[Fate]:
    """How many of `letters` would meet which fate now."""
    waiting = _Waiting(letters)
    async with held(place.connection, waiting.queues, waiting.wants) as taken:
        chosen = [Chosen(one, Case.of(one.letter)) for one in taken]
        ledger = await read(place, chosen)
        book, now = ledger.book if ledger else None, datetime.now(UTC)
        return Counter(one.case.fate(book, now, skip_expired=skip_expired) for one in chosen)


async def read(place: Workplace, chosen: Iterable[Chosen]) -> Ledger | None:
    """The journal, as far as it concerns `chosen`."""
    chosen, subjects = list(chosen), Subjects()
    for one in chosen:
        watch(subjects, one.case)
    return await place.ledger(subjects, [one.held.letter for one in chosen])


@dataclass(slots=True)
class _Waiting:
    """Letters that are still to be dealt with."""

    letters: Collection[Letter]
    ids: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = {letter.id for letter in self.letters}

    @property
    def queues(self) -> list[str]:
        """Where they are, each queue once."""
        return list(dict.fromkeys(letter.queue for letter in self.letters))

    def wants(self, letter: Letter) -> bool:
        """Whether `letter` is one of them."""
        return letter.id in self.ids
