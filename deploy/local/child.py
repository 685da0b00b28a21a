"""A process of ours that never outlives us, however we end: by itself, by Ctrl-C, or killed.

Each child runs in a session of its own, so that Ctrl-C reaches only us and we end our children in order. Beside
it waits a guard, a shell that reads from a pipe we hold: should we be killed, the kernel closes the pipe and
the guard ends the child. (The kernel's parent-death signal would not do: it fires when the *thread* that
started the child ends, and threads of a pool come and go.)
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

# The child itself tells the guard who it is, before it becomes the program: whenever we are killed, either it
# has not begun or the guard knows it. Its standard input is the pipe until then, and nothing afterwards.
_GUARD = 'read -r child && ! read -r _ && kill -s KILL -- "-$child"'
_CHILD = 'echo $$ >&0; exec "$@" </dev/null'
_POLL_SECONDS = 0.05


class ChildError(RuntimeError):
    """A process that is needed did not become ready, or ended."""


class Child:
    """A running process and its log; a context manager that stops it.

    `log` gets what the process prints, after what it holds already; also that the program is missing.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._guard = subprocess.Popen(
            ("/bin/sh", "-c", _GUARD), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            self._process = self._start(command, env, cwd)
        except BaseException:
            self._dismiss_guard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """What it has printed so far."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def stop(self, patience_seconds: float = 30) -> int:
        """End it with SIGTERM, or SIGKILL when it takes longer; the exit code, negative for a signal."""
        try:
            if self.running:
                self._process.terminate()
            return self._process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:  # also when a second Ctrl-C cuts the patience short
            self.kill()

    def kill(self) -> int:
        """End it with SIGKILL, its own children too; the exit code, negative for a signal."""
        if self.running:  # not yet reaped, so the id is still its own
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._dismiss_guard()
        return self._process.returncode

    def wait_until(self, ready: Callable[[], bool], timeout_seconds: float) -> None:
        """Return once `ready()`, asked again and again.

        Raises ChildError, with the end of the log, when the process ends first or the time is over.
        """
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            self.require_running()
            if time.monotonic() > deadline:
                raise self._error(f"was not ready after {timeout_seconds:g} seconds")
            time.sleep(_POLL_SECONDS)

    def require_running(self) -> None:
        """Raise ChildError, with the end of the log, when the process has ended."""
        if not self.running:
            raise self._error(f"ended with exit code {self._process.returncode}")

    def _error(self, what: str, lines: int = 15) -> ChildError:
        tail = self.output.splitlines()[-lines:]
        return ChildError("\n".join([f"{self.name} {what}; the end of {self.log}:", *tail]))

    def _start(
        self, command: Sequence[str], env: Mapping[str, str], cwd: Path | None
    ) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(
                ("/bin/sh", "-c", _CHILD, "sh", *command),
                env=env,
                cwd=cwd,
                stdin=self._guard.stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _dismiss_guard(self) -> None:
        # First the guard, then its pipe: a guard that saw the pipe close would kill.
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin:
            self._guard.stdin.close()
