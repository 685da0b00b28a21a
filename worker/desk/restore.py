"""Letters that are gone come back into their queue, as they were: what was discarded, or taken by another tool.

What was sent again stays gone: it was delivered, or is another dead letter by now.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from contracts.journal import What
from contracts.topology import DEAD_QUEUES, dead_exchange, dead_queue
from worker.copies import unchanged
from worker.desk.begun import begun
from worker.desk.case import Case, watch
from worker.desk.ledger import Subjects
from worker.desk.letter import UNROUTABLE, Letter
from worker.desk.message import message_of
from worker.desk.removal import How
from worker.desk.workplace import Workplace


class Return(StrEnum):
    """What becomes of a letter that should come back."""

    RESTORED = "restored"
    THERE = "there"
    SENT_AGAIN = "sent_again"
    EDITED = "edited"


async def restore(
    place: Workplace,
    letters: Collection[Letter],
    *,
    present: Collection[str],
    removed: Mapping[str, How],
    by: str,
    note: str,
    dry_run: bool = False,
    told: Callable[[int], None] = lambda _count: None,
) -> Counter[Return]:
    """Brings `letters`, bodies included, back; `present` are the ids there are, `removed` what was done.

    Raises BrokerUnavailableError; doing the same again brings back the rest.
    """
    ended, counts = await _ended(place, letters), Counter[Return]()
    for letter in letters:
        fate = _fate(letter, present, removed, ended)
        if fate is Return.RESTORED and not dry_run:
            await place.write([begun(What.RESTORED, letter, by, note)])
            await bury(place, letter)
        counts[fate] += 1
        told(counts.total())
    return counts


def at_home(letter: Letter, prefix: str) -> Letter:
    """The letter in the queue under `prefix` that is the one it was in under another."""
    name = letter.queue.rpartition(".")[2]
    return replace(letter, queue=dead_queue(name if name in (*DEAD_QUEUES, UNROUTABLE) else "poison", prefix))


async def bury(place: Workplace, letter: Letter) -> None:
    """Publishes `letter` among the dead as it is, with confirmation."""
    message = message_of(letter.body, unchanged(letter.headers), letter.properties)
    if letter.code == UNROUTABLE:
        await place.publisher.publish("", letter.queue, message)
        return
    key = f"{letter.dead_class}.{letter.code}"
    await place.publisher.publish(dead_exchange(place.prefix), key, message, into=letter.queue)


async def _ended(place: Workplace, letters: Iterable[Letter]) -> set[str]:
    """The ids of those that were sent again, and of which the journal says how that ended."""
    cases, subjects = [Case.of(letter) for letter in letters], Subjects()
    for case in cases:
        watch(subjects, case)
    ledger = await place.ledger(subjects, [case.letter for case in cases])
    return {case.letter.id for case in cases if ledger and case.has_ended(ledger.book)}


def _fate(
    letter: Letter, present: Collection[str], removed: Mapping[str, How], ended: Collection[str]
) -> Return:
    how = removed.get(letter.id)
    if letter.id in present:
        return Return.THERE
    if how is How.EDITED:
        return Return.EDITED
    if how is How.RETRIED or letter.id in ended:
        return Return.SENT_AGAIN
    return Return.RESTORED
