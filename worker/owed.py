"""Which mails of an event are still owed, as the header `notify-owed` says it: `0,3-7`, no addresses."""

import re
from collections.abc import Collection, Iterable
from itertools import groupby
from typing import Final

_RANGES: Final = re.compile(r"\d{1,7}(?:-\d{1,7})?(?:,\d{1,7}(?:-\d{1,7})?)*")


def written(indexes: Collection[int]) -> str:
    """Ascending ranges of `indexes`; empty for none."""
    runs = groupby(enumerate(sorted(indexes)), key=lambda pair: pair[1] - pair[0])
    bounds = [[index for _, index in run] for _, run in runs]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in bounds)


def is_owed(text: str, index: int) -> bool:
    """Whether mail `index` is owed; all are where `text` is empty or not of the form."""
    if not _RANGES.fullmatch(text):
        return True
    return any(first <= index <= last for first, last in _bounds(text.split(",")))


def _bounds(parts: Iterable[str]) -> Iterable[tuple[int, int]]:
    for part in parts:
        first, _, last = part.partition("-")
        yield int(first), int(last or first)
