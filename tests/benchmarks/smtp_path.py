"""The SMTP path alone, side by side: `sendmail` of aiosmtplib, our sessions mail by mail, and overlapping.

    python -m tests.benchmarks.smtp_path [--mails N] [--rounds N]

Against Postfix's `smtp-sink`, a process of its own, at once and behind a proxy with a round trip of 20 ms. The
ways take turns in each round, so that a machine's bad moments fall on all of them; medians are printed. One
process and one thread sends; its CPU time is what is counted.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

import uvloop
from aiosmtplib import SMTP

from tests.support.ports import closed_port
from worker.smtp.opening import open_session, trust
from worker.smtp.pace import Pace
from worker.smtp.plan import Anonymous, ConnectionPlan, Encryption
from worker.smtp.pool import Limits, Pool
from worker.smtp.session import Session

ROUND_TRIP_SECONDS: Final = 0.02
SESSIONS_AT_ONCE: Final = 8
SESSIONS_FAR: Final = 3
TASKS_PER_SESSION: Final = 4
FAR_MAILS: Final = 600
SENDER: Final = "no-reply@contensis.example"
RECIPIENT: Final = "ann@broddu.example"
MESSAGE_BYTES: Final = 2400
LINE: Final = b"An entry is waiting for your approval, with a link to it and who sent it to you.\r\n"
MESSAGE: Final = b"From: x@y\r\nSubject: Hello\r\n\r\n" + LINE * (MESSAGE_BYTES // len(LINE))

Send = Callable[[], Awaitable[object]]
Way = Callable[[int, int], AbstractAsyncContextManager[Send]]


@dataclass(frozen=True, slots=True)
class Run:
    """What one way took for a number of mails; seconds are of the wall clock and of this process's CPU."""

    mails: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Mails a second."""
        return self.mails / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        """Of CPU a mail."""
        return self.cpu_seconds / self.mails * 1e6


@asynccontextmanager
async def sendmail(port: int, sessions: int) -> AsyncIterator[Send]:
    """Aiosmtplib as it is used: connected clients, each of which sends one mail after the other."""
    idle: asyncio.Queue[SMTP] = asyncio.Queue()
    async with AsyncExitStack() as stack:
        for _ in range(sessions):
            client = SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname="bench")
            idle.put_nowait(await stack.enter_async_context(client))

        async def send() -> None:
            client = await idle.get()
            try:
                await client.sendmail(SENDER, [RECIPIENT], MESSAGE)
            finally:
                idle.put_nowait(client)

        yield send


@asynccontextmanager
async def pooled(port: int, sessions: int, *, overlapping: bool) -> AsyncIterator[Send]:
    """The worker's sessions and pool; `overlapping` as the worker does, else each mail after the other."""
    plan = ConnectionPlan("127.0.0.1", port, Encryption.NONE, Anonymous())
    tls, pace = trust(), Pace()

    async def opened(plan: ConnectionPlan) -> Session:
        return await open_session(plan, timeout=30.0, tls=tls, local_hostname="bench")

    limits = Limits(sessions=sessions, messages_per_session=1_000_000, lifetime_seconds=3600.0)
    pool: Pool[ConnectionPlan, Session] = Pool(opened, lambda _plan: limits)

    async def send() -> None:
        async with pool.lease(plan, urgent=False, deadline=time.monotonic() + 60.0) as slot:
            ending = partial(pool.hand_on, plan, slot) if overlapping else None
            await slot.session.send(SENDER, RECIPIENT, MESSAGE, smtputf8=False, pace=pace, ending=ending)

    yield send
    await pool.close()


WAYS: Final[Mapping[str, Way]] = {
    "aiosmtplib sendmail": sendmail,
    "sessions, mail by mail": partial(pooled, overlapping=False),
    "sessions, overlapping": partial(pooled, overlapping=True),
}


async def measured(way: str, port: int, *, sessions: int, mails: int) -> Run:
    """Sends `mails` in that way, from several tasks a session."""
    left = iter(range(mails))
    async with WAYS[way](port, sessions) as send:

        async def some() -> None:
            for _ in left:
                await send()

        tasks = sessions * TASKS_PER_SESSION
        await asyncio.gather(*(send() for _ in range(tasks)))  # the connections are made
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(some() for _ in range(tasks)))
        return Run(mails, time.perf_counter() - began, time.process_time() - cpu)


@asynccontextmanager
async def child(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that ends with the block."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def sink() -> AsyncIterator[int]:
    """The port of a server that takes everything, as fast as it comes."""
    program = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin")
    if program is None:
        sys.exit("smtp-sink is missing: install the package postfix")
    port = closed_port()
    async with child(program, "-u", "nobody", f"127.0.0.1:{port}", "256"):
        await _until_open(port)
        yield port


async def _until_open(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


@asynccontextmanager
async def far_away(port: int) -> AsyncIterator[int]:
    """The port of a proxy to `port`."""
    module = "tests.benchmarks.slow_proxy"
    async with child(sys.executable, "-m", module, str(port), str(ROUND_TRIP_SECONDS)) as process:
        assert process.stdout is not None
        yield int(await process.stdout.readline())


async def compare(port: int, *, sessions: int, mails: int, rounds: int) -> dict[str, list[Run]]:
    """All ways in turns."""
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for _, way in product(range(rounds), WAYS):
        runs[way].append(await measured(way, port, sessions=sessions, mails=mails))
    return runs


def report(title: str, runs: Mapping[str, list[Run]], *, sessions: int, far: bool) -> None:
    """A table of medians; far away also the round trips that a mail takes."""
    first = statistics.median(run.per_second for run in next(iter(runs.values())))
    say(f"\n{title}")
    for way, of_way in runs.items():
        per_second = statistics.median(run.per_second for run in of_way)
        cpu = statistics.median(run.cpu_microseconds for run in of_way)
        trips = f"{sessions / per_second / ROUND_TRIP_SECONDS:5.2f} round trips a mail" if far else ""
        say(f"  {way:24}{per_second:8.0f} mails/s{per_second / first:6.1f} x{cpu:8.0f} us CPU a mail  {trips}")


def say(line: str) -> None:
    """To standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(mails: int, rounds: int) -> None:
    """Both comparisons."""
    async with sink() as port, far_away(port) as far_port:
        near = await compare(port, sessions=SESSIONS_AT_ONCE, mails=mails, rounds=rounds)
        report(f"{SESSIONS_AT_ONCE} sessions, loopback", near, sessions=SESSIONS_AT_ONCE, far=False)
        far = await compare(far_port, sessions=SESSIONS_FAR, mails=FAR_MAILS, rounds=rounds)
        title = f"{SESSIONS_FAR} sessions, a round trip of {ROUND_TRIP_SECONDS * 1000:.0f} ms"
        report(title, far, sessions=SESSIONS_FAR, far=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The SMTP path alone, side by side.")
    parser.add_argument("--mails", type=int, default=10_000, help="a round and way, without the proxy")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.mails, arguments.rounds))
