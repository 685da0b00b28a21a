"""Many small events, each to an address of its own, published in bulk; and what became of them."""

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from contracts.events import EVENT
from tests.support.amqp import publish, until
from tests.support.examples import PASSWORD_RESET, SYSTEM, changed, fresh_example
from tests.support.smtp_server import Accepted, SmtpServer
from tests.support.worker import Worker

UNCONFIRMED_AT_MOST: Final = 100
MESSAGE_ID: Final = re.compile(rb"^Message-ID:\s*(<[^>]+>)", re.IGNORECASE | re.MULTILINE)


def addresses(count: int, name: str = "e") -> list[str]:
    """So many addresses, such as `e7@broddu.example`."""
    return [f"{name}{n}@broddu.example" for n in range(count)]


def message_to(address: str) -> dict[str, Any]:
    """A short system message to one reader."""
    event = fresh_example(SYSTEM)
    event["data"]["message"]["details"] = []
    event["data"]["recipients"] = [{"email": address, "reason": "approver"}]
    return event


def reset_for(address: str) -> dict[str, Any]:
    """A password reset, which goes by the urgent lane."""
    return changed(fresh_example(PASSWORD_RESET), "data.user.email", address)


async def publish_all(channel: AbstractChannel, prefix: str, events: Iterable[dict[str, Any]]) -> None:
    """Publishes `events` of one kind over one channel; returns when the broker has confirmed them all."""
    key = ""
    for some in _batches(events):
        key = key or EVENT.validate_python(some[0]).routing_key()
        await asyncio.gather(*(publish(channel, prefix, key, json.dumps(event).encode()) for event in some))


def _batches(events: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rest = iter(events)
    while some := list(islice(rest, UNCONFIRMED_AT_MOST)):
        yield some


def readers(messages: Iterable[AbstractIncomingMessage]) -> Counter[str]:
    """The addresses that the events in `messages` are for, and how often each."""
    return Counter(_reader(json.loads(message.body)["data"]) for message in messages)


def _reader(data: dict[str, Any]) -> str:
    address: str = data["user"]["email"] if "user" in data else data["recipients"][0]["email"]
    return address


def adopted(worker: Worker) -> int:
    """How many deliveries it met again that were in work or settled, and mails that were delivered."""
    return len(worker.said(action="adopt")) + len(worker.said(outcome="suppressed", code="duplicate"))


async def until_sent(smtp: SmtpServer, due: Collection[str], seconds: float) -> None:
    """Returns when mail for all of `due` was accepted, or after `seconds`: a tally says what is missing."""
    with suppress(TimeoutError):
        await until(lambda: not set(due) - {mail.recipients[0] for mail in smtp.accepted}, seconds)


@dataclass(frozen=True, slots=True)
class Repeat:
    """A mail that was accepted more than once: to whom, and the monotonic times of the first two times."""

    address: str
    first: float
    again: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the mails due to `published` addresses.

    `lost` were never accepted, `strange` were accepted and not due, `renamed` had another Message-ID when they
    were accepted again.
    """

    published: int
    lost: frozenset[str]
    strange: frozenset[str]
    renamed: frozenset[str]
    repeats: tuple[Repeat, ...]

    def __str__(self) -> str:
        return f"{self.published} events, {len(self.lost)} lost, {len(self.repeats)} twice"

    @property
    def is_complete(self) -> bool:
        """Whether just what was due was accepted, each mail under one Message-ID; some perhaps twice."""
        return not (self.lost or self.strange or self.renamed)


def tally(due: Collection[str], accepted: Sequence[Accepted]) -> Tally:
    """Compares what was accepted with what was due, one mail an address."""
    arrivals: defaultdict[str, list[Accepted]] = defaultdict(list)
    for mail in accepted:
        arrivals[mail.recipients[0]].append(mail)
    again = {address: mails for address, mails in arrivals.items() if len(mails) > 1}
    return Tally(
        published=len(due),
        lost=frozenset(due) - arrivals.keys(),
        strange=frozenset(arrivals.keys() - set(due)),
        renamed=frozenset(address for address, mails in again.items() if len(set(map(_message_id, mails))) > 1),
        repeats=tuple(
            Repeat(address, mails[0].at, mail.at) for address, mails in again.items() for mail in mails[1:]
        ),
    )


def distances(repeats: Iterable[Repeat], moments: Sequence[float]) -> list[float]:
    """Seconds from the nearest of `moments` to each first acceptance, ascending; negative before it."""
    return sorted(min((repeat.first - moment for moment in moments), key=abs) for repeat in repeats)


def window(seconds: Sequence[float]) -> str:
    """Such as `-41 to +187 ms`, for ascending `seconds`."""
    return f"{seconds[0] * 1000:+.0f} to {seconds[-1] * 1000:+.0f} ms" if seconds else "none"


def _message_id(mail: Accepted) -> bytes:
    found = MESSAGE_ID.search(mail.content)
    return found[1] if found else b""
