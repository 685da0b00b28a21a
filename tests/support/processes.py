"""The processes of this machine, read from /proc: what a test asks to see that nothing was left behind."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process that has not ended: its id, its parent's and its group's, and the folder it works in."""

    pid: int
    parent: int
    group: int
    folder: Path


def living(wanted: Callable[[Process], bool]) -> list[Process]:
    """Every process that `wanted` says yes to."""
    return [process for process in _processes() if wanted(process)]


def gone(wanted: Callable[[Process], bool], timeout_seconds: float = 15) -> bool:
    """Whether no such process is left, now or within the time."""
    deadline = time.monotonic() + timeout_seconds
    while living(wanted):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def nobody_works_in(folder: Path) -> bool:
    """Whether every process in `folder` is gone, or soon will be; also one that runs in a root folder."""
    return gone(lambda process: f"{folder}/" in f"{process.folder}/")


def descendants(pid: int) -> set[int]:
    """The ids of all processes that `pid` has started, directly or through others."""
    everybody = list(_processes())
    found, new = set[int](), {pid}
    while new:
        new = {process.pid for process in everybody if process.parent in new}
        found |= new
    return found


def _processes() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (process := _read(entry)):
            yield process


def _read(entry: Path) -> Process | None:
    try:
        # proc(5): pid (name) state ppid pgrp …; the name may hold spaces and brackets.
        state, parent, group, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
        folder = (entry / "cwd").readlink()
    except OSError:  # it ended meanwhile, or is not ours to look at
        return None
    return None if state == "Z" else Process(int(entry.name), int(parent), int(group), folder)
