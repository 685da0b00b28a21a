"""A progress bar on stderr, for whatever takes longer than a second on a terminal."""

import sys
import time
from types import TracebackType
from typing import Final, Self

from rich import progress
from rich.console import Console

PATIENCE_SECONDS: Final = 1.0


class Progress:
    """A bar of `total` steps; a context manager. `at` may be called as often as one likes."""

    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._begun = time.monotonic()
        self._bar: progress.Progress | None = None
        self._task: progress.TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int) -> None:
        """So many steps are done."""
        if self._bar is None and sys.stderr.isatty() and time.monotonic() - self._begun > PATIENCE_SECONDS:
            self._bar = progress.Progress(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=self._total)
            self._bar.start()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
