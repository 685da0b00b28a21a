"""A child process never outlives us, whichever way either of us ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.child import Child, ChildError
from tests.support.processes import gone, living

ROOT = Path(__file__).parents[3]
SLEEPER = ("sleep", "600")
STUBBORN = ("sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
OWNER = """
import os, sys, time
from pathlib import Path
from deploy.local.child import Child
child = Child("a sleeper", ("sh", "-c", "sleep 600 & wait"), log=Path(sys.argv[1]), env=os.environ)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a child's output goes."""
    return tmp_path / "child.log"


@pytest.fixture
def owner(log: Path) -> Iterator[subprocess.Popen[str]]:
    """Another Python that has a child, which has one too."""
    command = [sys.executable, "-c", OWNER, str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        yield process
        process.kill()


def test_it_ends_when_it_is_told_to(log: Path) -> None:
    """SIGTERM first: a child that honours it is not killed."""
    child = Child("a sleeper", SLEEPER, log=log, env=os.environ)
    assert child.running
    assert child.stop() == -signal.SIGTERM
    assert not child.running


def test_one_that_ignores_sigterm_is_killed(log: Path) -> None:
    """Patience is bounded."""
    child = Child("a stubborn one", STUBBORN, log=log, env=os.environ)
    child.wait_until(lambda: "deaf" in child.output, 10)
    assert child.stop(patience_seconds=0.2) == -signal.SIGKILL
    assert gone(lambda process: process.group == child.pid)


def test_it_can_be_stopped_again(log: Path) -> None:
    """Stopping what has ended says how it ended."""
    with Child("a short one", ("sh", "-c", "echo done; exit 3"), log=log, env=os.environ) as child:
        child.wait_until(lambda: not child.running, 10)
        assert child.stop() == child.stop() == 3


def test_a_missing_program_is_told(log: Path) -> None:
    """In the log, as the reason why it ended."""
    with (
        Child("a missing one", ("no-such-program",), log=log, env=os.environ) as child,
        pytest.raises(ChildError, match=r"(?s)a missing one ended with exit code 127.*no-such-program"),
    ):
        child.wait_until(lambda: False, 10)


def test_a_child_that_ends_early_is_told_with_its_last_words(log: Path) -> None:
    """Whoever waits for it learns at once, and reads why."""
    with (
        Child("a broken one", ("sh", "-c", "echo no such port >&2; exit 3"), log=log, env=os.environ) as child,
        pytest.raises(ChildError, match=r"(?s)a broken one ended with exit code 3.*no such port"),
    ):
        child.wait_until(lambda: False, 30)


def test_waiting_is_bounded(log: Path) -> None:
    """A child that never becomes ready is told as such."""
    with (
        Child("a slow one", SLEEPER, log=log, env=os.environ) as child,
        pytest.raises(ChildError, match=r"a slow one was not ready after 0\.2 seconds"),
    ):
        child.wait_until(lambda: False, 0.2)


def test_no_child_outlives_a_killed_parent(owner: subprocess.Popen[str]) -> None:
    """A parent that gets SIGKILL can clean nothing up: the guard does, grandchildren too."""
    assert owner.stdout
    pid = int(owner.stdout.readline())
    assert living(lambda process: process.group == pid)
    owner.kill()
    assert gone(lambda process: process.group == pid)


def test_ctrl_c_reaches_only_the_parent(log: Path) -> None:
    """A terminal sends Ctrl-C to its whole group; children are ended by their parent, in order."""
    with Child("a sleeper", SLEEPER, log=log, env=os.environ) as child:
        assert os.getpgid(child.pid) != os.getpgid(0)
