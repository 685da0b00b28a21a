"""The life of a mail or event: what of the journal is about an id that somebody pasted.

A message of the journal is searched as bytes first; only lines that hold the id are parsed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, Self

from pydantic_core import to_json

from contracts.dead_letter import Reason, header_name, rfc3339
from contracts.journal import SETTINGS_REV_HEADER, WORKER_HEADER, What
from worker.desk.removal import REMOVAL_HEADER

FIRST_DEATH_QUEUE: Final = "x-first-death-queue"
"""The worker's own dead letters have lost such headers."""

_NAMED: Final = re.compile(
    r"(?i)^(?:message-id|traceparent|event[_-]?id|trace[_-]?id|dead[_-]?id|mail)\s*[:=]\s*"
)
_WRAPPING: Final = " \t\r\n<>\"'`,;"
_TRACEPARENT: Final = re.compile(r"(?i)^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_HYPHENATED: Final = re.compile(r"(?i)^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_NAMES: Final = ("event", "mail", "trace", "dead_id")
"""Fields of a record that name what it is about."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Every id that the pasted words may mean: as they stand, without what is around them, or a part."""

    ids: frozenset[str]

    @classmethod
    def of(cls, text: str) -> Self:
        """Reads an event id, Message-ID or its left part, trace id, traceparent or id of a dead letter.

        Raises ValueError where there is nothing to look for.
        """
        bare = _NAMED.sub("", text.strip()).strip(_WRAPPING)
        found = {text, text.strip(), bare, "".join(bare.split()), bare.rpartition("@")[0]}
        if trace := _TRACEPARENT.match(bare):
            found.add(trace[1])
        if _HYPHENATED.match(bare):
            found.add(bare.replace("-", ""))
        if not bare:
            raise ValueError("write an event id, a Message-ID or a trace id")
        return cls(frozenset(name for name in found if name.strip()))

    @property
    def needles(self) -> tuple[bytes, ...]:
        """What the bytes of a record about it hold one of, in lower case."""
        return tuple({to_json(name)[1:-1].lower() for name in self.ids})

    def names(self, values: Iterable[str]) -> bool:
        """Whether one of `values` is it, letter for letter."""
        return not self.ids.isdisjoint(values)

    def nearly_names(self, values: Iterable[str]) -> bool:
        """Whether one of `values` is it but for capital letters."""
        lowered = {name.lower() for name in self.ids}
        return not lowered.isdisjoint(value.lower() for value in values)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that happened: the fields of a record of the journal, and who wrote it under which settings.

    `at` is RFC 3339 in UTC, empty where nobody noted it. `what` is one of the journal's words, or how a dead
    letter was taken out of its queue: `retried`, `discarded` or `edited`.
    """

    at: str
    what: str
    mail: str = ""
    event: str = ""
    type: str = ""
    code: str = ""
    detail: str = ""
    lane: str = ""
    attempt: int = 0
    tier: str = ""
    dead_id: str = ""
    trace: str = ""
    unknown: bool = False
    worker: str = ""
    settings_rev: str = ""

    @classmethod
    def read(cls, record: Mapping[str, Any], headers: Mapping[str, Any]) -> Self:
        """What `record` says; a field of another type than it should be is left out."""
        about = {
            **record,
            "worker": headers.get(WORKER_HEADER),
            "settings_rev": headers.get(SETTINGS_REV_HEADER),
        }
        kept = {
            it.name: about[it.name] for it in fields(cls) if type(about.get(it.name)) is type_of(it.default)
        }
        return cls(**{"at": "", "what": "", **kept})

    @property
    def names(self) -> tuple[str, ...]:
        """The ids that it bears."""
        return tuple(getattr(self, name) for name in _NAMES)

    def document(self) -> dict[str, Any]:
        """What applies of it, for JSON."""
        return {name: value for name, value in asdict(self).items() if value}


def type_of(default: object) -> type:
    """The type of a field by its default; text where there is none."""
    return type(default) if isinstance(default, int | bool) else str


@dataclass
class Search:
    """Collects the facts about what is sought from messages of the journal and of the stream of dead letters.

    `since`, aware, leaves out what was before it.
    """

    sought: Sought
    since: datetime | None = None
    seen: int = 0
    first_at: str = ""
    _facts: list[Fact] = field(default_factory=list)
    _needles: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        self._needles = self.sought.needles

    def see(self, headers: Mapping[str, Any], body: bytes) -> None:
        """A message of the journal."""
        self.seen += 1
        if not self.first_at:
            self.first_at = Fact.read(parsed(body.partition(b"\n")[0]), {}).at
        if self._is_in(body):
            for line in filter(self._is_in, body.splitlines()):
                self._add(Fact.read(parsed(line), headers))

    def see_dead(self, headers: Mapping[str, Any], body: bytes) -> None:
        """A message of the stream of dead letters: a copy of one, or a note that some were taken out."""
        if REMOVAL_HEADER in headers:
            self._add_removal(str(headers[REMOVAL_HEADER]), body)
            return
        letter = _made_by_broker(headers, body) if FIRST_DEATH_QUEUE in headers else _letter(headers)
        if not any(fact.dead_id == letter.dead_id != "" for fact in self._facts):
            self._add(letter)

    @property
    def facts(self) -> list[Fact]:
        """Oldest first, those without a time last.

        Those whose id differs in capital letters count only where none has it exactly.
        """
        exact = [fact for fact in self._facts if self._bears(fact)]
        return sorted(exact or self._facts, key=lambda fact: (not fact.at, fact.at))

    @property
    def widened(self) -> Sought | None:
        """The whole events, or traces, that dead letters are of, where nothing but a dead letter was sought."""
        others = [fact for fact in self.facts if self.sought.nearly_names(fact.names[:-1])]
        ids = {fact.event or fact.trace for fact in self.facts} - {""}
        return Sought(frozenset(ids)) if ids and not others else None

    def _bears(self, fact: Fact) -> bool:
        return self.sought.names(fact.names)

    def _is_in(self, body: bytes) -> bool:
        folded = body.lower()
        return any(needle in folded for needle in self._needles)

    def _add(self, fact: Fact) -> None:
        after = not self.since or not fact.at or fact.at >= rfc3339(self.since)
        if fact.what and after and self.sought.nearly_names(fact.names):
            self._facts.append(fact)

    def _add_removal(self, how: str, body: bytes) -> None:
        note = parsed(body)
        ids = note.get("ids")
        for dead in [fact for fact in self._facts if fact.what == What.DEAD and fact.dead_id]:
            if isinstance(ids, list) and dead.dead_id in ids:
                said = Fact.read({"at": note.get("at"), "detail": note.get("note")}, {})
                self._facts.append(
                    replace(said, what=how, event=dead.event, trace=dead.trace, dead_id=dead.dead_id)
                )


def parsed(line: bytes) -> dict[str, Any]:
    """The fields of a line of JSON; none of anything else."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _letter(headers: Mapping[str, Any]) -> Fact:
    """What a dead letter's headers say; they are the worker's own."""
    said = {name: headers.get(header_name(name)) for name in ("code", "detail", "dead_id")}
    parent = _TRACEPARENT.match(str(headers.get("traceparent", "")))
    attempts = headers.get(header_name("attempts"))
    about = {
        **said,
        "at": headers.get(header_name("died")),
        "what": What.DEAD.value,
        "event": headers.get(header_name("event_id")),
        "type": headers.get(header_name("event_type")),
        "lane": str(headers.get(header_name("origin_queue"), "")).rpartition(".")[2],
        "attempt": attempts,
        "trace": parent[1].lower() if parent else "",
    }
    return Fact.read(about, headers)


def _made_by_broker(headers: Mapping[str, Any], body: bytes) -> Fact:
    """What can be told of a dead letter that the broker made itself; when that was, the stream does not say."""
    event = parsed(body)
    queue = str(headers.get("x-last-death-queue", headers[FIRST_DEATH_QUEUE]))
    about = {
        "what": What.DEAD.value,
        "code": Reason.DELIVERY_LIMIT.value,
        "event": event.get("id"),
        "type": event.get("type"),
        "lane": queue.rpartition(".")[2] if ".work." in queue else "",
        "trace": "".join(_traces(event, headers)),
    }
    return Fact.read(about, {})


def _traces(event: Mapping[str, Any], headers: Mapping[str, Any]) -> Iterator[str]:
    for parent in (headers.get("traceparent"), event.get("traceparent")):
        if isinstance(parent, str) and (match := _TRACEPARENT.match(parent)):
            yield match[1].lower()
            return
