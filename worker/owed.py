"""Which mails of an event are still owed, as the header `notify-owed` says it: `0,3-7`, no addresses."""

import re
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Final

MOST_RANGES: Final = 400
_RANGES: Final = re.compile(r"\d{1,7}(?:-\d{1,7})?(?:,\d{1,7}(?:-\d{1,7})?)*")


def written(indexes: Collection[int]) -> str:
    """Ascending ranges of `indexes`; empty for none.

    Of very many ranges the closest are joined, so that a header holds them: then some are named that are not
    owed, which are known as delivered when their turn comes.
    """
    runs = groupby(enumerate(sorted(indexes)), key=lambda pair: pair[1] - pair[0])
    bounds = [(run[0], run[-1]) for run in ([index for _, index in run] for _, run in runs)]
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _joined(bounds))


def read(text: str) -> Sequence[range]:
    """The ranges `text` names; none where it is not of the form."""
    if text.count(",") >= MOST_RANGES or not _RANGES.fullmatch(text):
        return ()
    bounds = (part.partition("-") for part in text.split(","))
    return [range(int(first), int(last or first) + 1) for first, _, last in bounds]


def _joined(bounds: list[tuple[int, int]]) -> list[tuple[int, int]]:
    if len(bounds) <= MOST_RANGES:
        return bounds
    gaps = sorted(range(1, len(bounds)), key=lambda n: bounds[n][0] - bounds[n - 1][1])
    closed = set(gaps[: len(bounds) - MOST_RANGES])
    joined = [bounds[0]]
    for n in range(1, len(bounds)):
        if n in closed:
            joined[-1] = (joined[-1][0], bounds[n][1])
        else:
            joined.append(bounds[n])
    return joined
