"""How far ahead of its replies a server is talked to: as far as it has turned out to bear."""

import time
from collections.abc import Callable
from math import inf
from typing import Final

REMEMBERED_SECONDS: Final = 3600.0


class Pace:
    """Of one server. One that loses step is talked to more slowly for an hour: some promise too much."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._grouped_from = self._overlapping_from = -inf

    @property
    def grouped(self) -> bool:
        """Whether the commands of an envelope may go together."""
        return self._clock() >= self._grouped_from

    @property
    def overlapping(self) -> bool:
        """Whether an envelope may go before the verdict on the mail before it."""
        return self._clock() >= self._overlapping_from

    def stumbled(self, *, overlapping: bool) -> None:
        """It lost step with an envelope: with one that was `overlapping`, or with any in a group."""
        self._overlapping_from = self._clock() + REMEMBERED_SECONDS
        if not overlapping:
            self._grouped_from = self._overlapping_from
