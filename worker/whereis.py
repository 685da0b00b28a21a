"""`whereis`: the journal and the queues of a broker, asked about one mail or event. Only looks."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aio_pika.abc import AbstractConnection

from contracts.topology import DEAD_QUEUES, Lane, dead_queue, dead_stream, journal_stream, work_queue
from worker.broker import BrokerRefusedError
from worker.depths import Depth, depths
from worker.stream import Piece, Start, StreamMissingError, pieces
from worker.survey import opened
from worker.trail import Fact, Search, Sought
from worker.whereabouts import FINAL, Place, places

DEAD_AT_ONCE: Final = 20
"""Dead letters hold whole events, attachments included."""

BEFORE_ITS_RECORD: Final = timedelta(minutes=1)

See = Callable[[Mapping[str, Any], bytes], None]

Progress = Callable[[float], None]
"""Told the share of the journal that was read, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a mail or event: its life, oldest first, and where it is.

    `lacks` says why a stream could not be searched. `begins` is the time of the first record that was searched,
    RFC 3339. `depths` are those of the queues that may have it, of all where nothing was found.
    """

    facts: list[Fact]
    places: list[Place]
    depths: dict[str, Depth] = field(default_factory=dict)
    begins: str = ""
    lacks: tuple[str, ...] = ()


async def find(
    url: str,
    prefix: str,
    sought: Sought,
    *,
    since: datetime | None = None,
    progress: Progress = lambda _share: None,
) -> Found:
    """Looks for what is `sought`; `since`, aware, seeks in the journal instead of reading all of it.

    Raises BrokerUnavailableError, and BrokerRefusedError where the broker does not let this user in.
    """
    async with opened(url, "whereis") as connection:
        search = Search(sought, since)
        lack = await _searched(connection, prefix, search, progress)
        if widened := search.widened:
            search = Search(widened, since)
            lack = await _searched(connection, prefix, search, progress)
        now = datetime.now(UTC)
        found = places(search.facts, prefix, now)
        queues = [place.queue for place in found if place.queue] or _every_queue(prefix)
        return Found(search.facts, found, await depths(connection, queues), begins=search.first_at, lacks=lack)


async def _searched(
    connection: AbstractConnection, prefix: str, search: Search, progress: Progress
) -> tuple[str, ...]:
    """Searches both streams; why one could not be."""
    journal = pieces(connection, journal_stream(prefix), search.since or "first", progress=progress)
    lacks = [await _lack(journal, search.see)]
    if any(fact.what not in FINAL for fact in search.facts) or not search.facts:
        dead = pieces(connection, dead_stream(prefix), _start(search), at_once=DEAD_AT_ONCE)
        lacks.append(await _lack(dead, search.see_dead))
    return tuple(filter(None, lacks))


async def _lack(groups: AsyncIterator[list[Piece]], see: See) -> str:
    """Shows `see` every message; why that could not be done, else empty."""
    try:
        async for group in groups:
            for piece in group:
                see(piece.headers, piece.body)
    except (StreamMissingError, BrokerRefusedError) as error:
        return str(error)
    return ""


def _start(search: Search) -> Start:
    """A dead letter is published before its record is written; without any, it may have died at any time."""
    try:
        return datetime.fromisoformat(search.facts[0].at) - BEFORE_ITS_RECORD
    except (IndexError, ValueError):
        return search.since or "first"


def _every_queue(prefix: str) -> list[str]:
    dead = (dead_queue(name, prefix) for name in (*DEAD_QUEUES, "unroutable"))
    return [*(work_queue(lane, prefix) for lane in Lane), *dead]
