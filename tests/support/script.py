"""A line of a script: when it is its turn to make a dialogue go wrong."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Turn:
    """At `point`, only for mails to `to` where that is given, `times` times after `skip` times without."""

    point: str
    to: str = ""
    times: int | None = None
    skip: int = 0

    def fits(self, point: str, recipients: Iterable[str]) -> bool:
        """Whether it is this one's turn; counts it if so."""
        if self.point != point or self.times == 0 or (self.to and self.to not in recipients):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True
