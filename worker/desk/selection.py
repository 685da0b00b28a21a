"""Which dead letters are meant: filters as a pure predicate, and the words that name a letter or a group."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from worker.desk.letter import Letter

_AGO: Final = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class AmbiguousError(Exception):
    """A word begins several names; `names` lists them, and `word` is what was typed."""

    def __init__(self, word: str, names: Sequence[str]) -> None:
        super().__init__(f"{word} is the beginning of {len(names)} names: write one of {', '.join(names[:5])}.")
        self.word = word
        self.names = tuple(names)


@dataclass(frozen=True, slots=True)
class Filter:
    """Letters that match every field; an empty field takes all. Words are as `Letter` has them, any of a field.

    `groups` are full group ids. `since`, aware, takes what died then or later, and what has no known time.
    """

    codes: frozenset[str] = field(default_factory=frozenset)
    classes: frozenset[str] = field(default_factory=frozenset)
    lanes: frozenset[str] = field(default_factory=frozenset)
    groups: frozenset[str] = field(default_factory=frozenset)
    event_ids: frozenset[str] = field(default_factory=frozenset)
    since: datetime | None = None

    @classmethod
    def of(cls, *, since: datetime | None, **fields: Iterable[str] | None) -> Self:
        """From what options give: a field that was not given takes all."""
        return cls(since=since, **{name: frozenset(values or ()) for name, values in fields.items()})

    def __call__(self, letter: Letter) -> bool:
        """Whether `letter` is one of them."""
        return (
            _among(letter.code, self.codes)
            and _among(letter.dead_class, self.classes)
            and _among(letter.lane, self.lanes)
            and _among(letter.group, self.groups)
            and _among(letter.event_id, self.event_ids)
            and (self.since is None or letter.died is None or letter.died >= self.since)
        )


def _among(value: str, wanted: frozenset[str]) -> bool:
    return not wanted or value in wanted


def named(word: str, letters: Iterable[Letter]) -> list[Letter]:
    """The letters that `word` names, in their order; none where nothing has that name.

    It is a group's id, a code, a letter's id, or the beginning of either id; a full name beats a
    beginning. Raises AmbiguousError for the beginning of several.
    """
    letters = list(letters)
    lowered = word.lower()
    exact = [letter for letter in letters if lowered in (letter.group, letter.code, letter.id.lower())]
    if exact or not lowered:
        return exact
    names = sorted({name for letter in letters for name in (letter.id, letter.group) if _begins(name, lowered)})
    if len(names) > 1:
        raise AmbiguousError(word, names)
    return [letter for letter in letters if names and names[0] in (letter.id, letter.group)]


def _begins(name: str, lowered: str) -> bool:
    return name.lower().startswith(lowered)


def moment(text: str, now: datetime) -> datetime:
    """`2h` as so long before `now`, or a date with or without a time (UTC where it names no zone), aware.

    Raises ValueError with a sentence for anything else.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        said = datetime.fromisoformat(text.strip())
        return said if said.tzinfo else said.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            "write how long ago, such as 90s, 30m, 2h, 3d or 1w, or a time: 2026-11-24T09:30"
        ) from None
