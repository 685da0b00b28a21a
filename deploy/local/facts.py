"""What really happened in the demo, and how that differs from what had to happen."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from contracts.dead_letter import header_name
from deploy.local import expected
from deploy.local.broker_view import BrokerView, Look, dead_queues, unfinished_queues
from deploy.local.inbox import StoredMail, read_index
from deploy.local.scenario import Published
from deploy.local.stage import Stage

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Facts:
    """Mails in the inbox, dead letters, and the number of events still in a queue.

    `exit_codes` are those of the workers that have ended, by prefix.
    """

    mails: list[StoredMail]
    dead: list[Look]
    waiting: Mapping[str, int]
    exit_codes: Mapping[str, int] = field(default_factory=dict)


async def gather(stage: Stage, exit_codes: Mapping[str, int]) -> Facts:
    """The facts as inbox and broker have them now."""
    async with BrokerView.connect(stage.broker_url) as view:
        dead = await view.look(_each(dead_queues, stage))
        waiting = await view.count(_each(unfinished_queues, stage))
    return Facts(read_index(stage.inbox), dead, waiting, exit_codes)


async def count(view: BrokerView, stage: Stage) -> int:
    """How many mails and dead letters there are so far."""
    dead = await view.count(_each(dead_queues, stage))
    return len(read_index(stage.inbox)) + sum(dead.values())


def differences(published: Iterable[Published], facts: Facts) -> list[str]:
    """A line for everything that is missing or too much; empty when all is as it has to be."""
    everything = list(published)
    return [
        *_compare([mail for p in everything for mail in p.mails], map(mail_of, facts.mails)),
        *_compare([dead for p in everything for dead in p.dead], map(dead_letter_of, facts.dead)),
        *(f"still in {queue}: {number}" for queue, number in facts.waiting.items() if number),
        *(f"worker {prefix}: exit code {code}" for prefix, code in facts.exit_codes.items() if code),
    ]


def mail_of(stored: StoredMail) -> expected.Mail:
    """A mail in the inbox, as it is expected."""
    return expected.Mail(", ".join(stored.to), stored.language)


def dead_letter_of(look: Look) -> expected.DeadLetter:
    """A message in a dead queue, as it is expected; one without our headers is called after its queue."""
    dead_class, code, text = (str(look.headers.get(header_name(n), "")) for n in ("dead_class", "code", "text"))
    return expected.DeadLetter(dead_class or look.queue, code, text)


def _each(queues: Callable[[str], list[str]], stage: Stage) -> list[str]:
    return [queue for prefix in stage.workers for queue in queues(prefix)]


def _compare(wanted: Iterable[Thing], found: Iterable[Thing]) -> list[str]:
    wanted_counts, found_counts = Counter(wanted), Counter(found)
    missing = [f"missing: {thing}" for thing in (wanted_counts - found_counts).elements()]
    return missing + [f"not expected: {thing}" for thing in (found_counts - wanted_counts).elements()]
