"""The worker as its own process, started as a user would, and its log read as an operator would."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.local.child import Child
from tests.support.amqp import until

ROOT = Path(__file__).parents[2]
READY_SECONDS = 30.0


class Worker:
    """`python -m worker run` with exactly the settings given; stop it, or the test's end does."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.log = folder / f"worker-{len(list(folder.glob('worker-*')))}.log"
        self._child = Child(
            "worker",
            [sys.executable, "-m", "worker", "run"],
            log=self.log,
            env=environment(settings),
            cwd=ROOT,
        )

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.running

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def text(self) -> str:
        """All it printed."""
        return self._child.output

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        complete = self.text.rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete if line.startswith("{")]

    def said(self, **fields: Any) -> list[dict[str, Any]]:
        """The log lines that have all these fields."""
        return [line for line in self.lines if fields.items() <= line.items()]

    async def until(self, holds: Callable[["Worker"], Any], seconds: float = READY_SECONDS) -> None:
        """Returns when `holds`. Raises AssertionError with the log where it takes too long."""
        try:
            await until(lambda: bool(holds(self)), seconds)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s; the worker said:\n{self.text[-4000:]}") from None

    async def until_said(self, *, times: int = 1, seconds: float = READY_SECONDS, **fields: Any) -> None:
        """Returns when so many log lines have these fields."""
        await self.until(lambda worker: len(worker.said(**fields)) >= times, seconds)

    async def stop(self, patience_seconds: float = 60.0) -> int:
        """SIGTERM, then its exit code; killed after so many seconds."""
        return await asyncio.to_thread(self._child.stop, patience_seconds)

    async def ended(self, seconds: float = READY_SECONDS) -> int:
        """The exit code of a worker that ends by itself."""
        await self.until(lambda worker: not worker.running, seconds)
        return await self.stop()

    def kill(self) -> None:
        """As a crash would."""
        self._child.kill()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """What the process sees: nothing of ours but PATH, and `settings`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE", "LANG") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **settings}


async def command(
    arguments: Sequence[str], settings: Mapping[str, str], *, stdin: bytes = b""
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a `notify-worker` command."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(settings),
        cwd=ROOT,
    )
    async with asyncio.timeout(READY_SECONDS):
        out, err = await process.communicate(stdin)
    return process.returncode or 0, out.decode(), err.decode()
