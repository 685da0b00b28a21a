"""Letters are discarded: noted with a reason, then taken out. The stream of dead letters keeps its copy."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from contracts.journal import What
from worker.desk.begun import begun
from worker.desk.holding import held
from worker.desk.letter import UNROUTABLE, Letter
from worker.desk.removal import How
from worker.desk.workplace import Workplace

AT_ONCE: Final = 100
REMEMBERED: Final = timedelta(days=29)


async def discard(
    place: Workplace,
    letters: Sequence[Letter],
    *,
    by: str,
    reason: str,
    told: Callable[[int], None] = lambda _count: None,
) -> int:
    """Takes `letters` out of their queues; returns how many. Raises BrokerUnavailableError."""
    ids = {letter.id for letter in letters}
    queues = list(dict.fromkeys(letter.queue for letter in letters))
    count = 0
    async with held(place.connection, queues, lambda letter: letter.id in ids) as taken:
        for start in range(0, len(taken), AT_ONCE):
            some = taken[start : start + AT_ONCE]
            await place.write(begun(What.DISCARDED, one.letter, by, reason) for one in some)
            for one in some:
                await one.message.ack()
            await place.note_removal((one.letter.id for one in some), How.DISCARDED, by, reason)
            count += len(some)
            told(count)
    return count


def is_kept(letter: Letter, now: datetime) -> bool:
    """Whether a copy of `letter` is in the stream of dead letters, if there is one, and stays for a day."""
    return letter.code != UNROUTABLE and letter.died is not None and now - letter.died < REMEMBERED
