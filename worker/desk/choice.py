"""Which letters a command is to change: named by words, by filters, or all. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from worker.desk.letter import Letter
from worker.desk.selection import Filter, named

NO_FILTER: Final = Filter()


class NothingNamedError(Exception):
    """Write which dead letters are meant: ids, groups or codes, filters, or --all."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`words` are ids, groups and codes; of those, or of all, the filter takes what is meant."""

    words: tuple[str, ...] = ()
    filter: Filter = NO_FILTER
    everything: bool = False

    def __post_init__(self) -> None:
        if not (self.words or self.everything or self.filter != NO_FILTER):
            raise NothingNamedError(NothingNamedError.__doc__)

    def may_mean(self, letter: Letter) -> bool:
        """Whether `letter` may be meant, as long as it is not known which others there are."""
        named_by = (letter.id.lower(), letter.group, letter.code)
        beginnings = tuple(word.lower() for word in self.words)
        return self.filter(letter) and (not beginnings or any(name.startswith(beginnings) for name in named_by))

    def among(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those of `letters` that are meant, in their order. Raises AmbiguousError."""
        meant = {letter.id for word in self.words for letter in named(word, letters)}
        return [letter for letter in letters if (not self.words or letter.id in meant) and self.filter(letter)]
