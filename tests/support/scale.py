"""How long the tests of endurance take: short in every run, long with NOTIFY_TEST_SOAK=1."""

import os
from typing import Final

SOAK: Final[bool] = os.environ.get("NOTIFY_TEST_SOAK") == "1"


def cases(short: int, long: int) -> int:
    """`long` in a soak, else `short`."""
    return long if SOAK else short


SLACK: Final[int] = 1 if SOAK else 5
"""How many times longer than promised something may take: a busy machine fails no run but the long one."""
