"""The canary: the first few that are sent again tell whether it is worth sending the rest. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.dead_letter import ABOUT, DeadClass, Reason
from contracts.journal import What
from worker.desk.case import Case
from worker.desk.ledger import Book, Ending

CANARY_SECONDS: Final = 60.0
"""How long the outcomes are waited for."""

FAILED: Final = frozenset({What.DEAD, What.RETRY})


class Song(StrEnum):
    """What the canary tells."""

    WELL = "well"
    SAME = "same"
    SETTINGS = "settings"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the canary tells, and the code that it failed with, if it did.

    It is `SAME` where one failed as it had before, and `SETTINGS` where another setting stops it now: both
    would happen to the rest. Another fault, such as a recipient that does not exist, is that letter's own.
    """

    song: Song
    code: str = ""

    @property
    def goes_on(self) -> bool:
        """Whether the rest may be sent."""
        return self.song is Song.WELL


def listen(cases: Sequence[Case], book: Book, since: str) -> Verdict | None:
    """What `cases`, sent at `since` (RFC 3339 in UTC) or later, tell; None while that is not known."""
    endings = [_endings(case, book, since) for case in cases]
    for case, ended in zip(cases, endings, strict=True):
        if any(_failed(one) and one.code == case.letter.code for one in ended):
            return Verdict(Song.SAME, case.letter.code)
    codes = (one.code for ended in endings for one in ended if _failed(one))
    stopped = next((code for code in codes if _is_of_the_settings(code)), "")
    if stopped:
        return Verdict(Song.SETTINGS, stopped)
    return Verdict(Song.WELL) if all(map(_is_over, endings)) else None


def _endings(case: Case, book: Book, since: str) -> list[Ending]:
    of_event = book.of_event.get(case.event.id, ()) if case.event else ()
    return [one for one in (*of_event, *book.of_run.get(case.run, ())) if one.at >= since]


def _failed(ending: Ending) -> bool:
    return ending.what in FAILED


def _is_over(endings: Iterable[Ending]) -> bool:
    """Whether something became of it; one that waits for the server to come back has yet to tell."""
    return any(ending.what != What.INTERRUPTED for ending in endings)


def _is_of_the_settings(code: str) -> bool:
    return code in set(Reason) and ABOUT[Reason(code)].dead_class is DeadClass.CONFIG
