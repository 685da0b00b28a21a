"""The screens of `whereis` and `doctor` on a terminal of 100 columns; run as a module, it prints them.

They come from the code that prints for users, fed with what never changes, so that the README can hold them.
"""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from typing import Final

from yarl import URL

from contracts.definitions import whole_topology
from contracts.topology import Lane, dead_queue, work_queue
from tests.support.outcomes import SETTINGS_REV, WORKER
from worker import screens, survey, vitals, whereis
from worker.commands.whereis import print_found
from worker.declare import kind_of
from worker.depths import Depth
from worker.findings import Finding
from worker.survey import State
from worker.trail import Fact
from worker.vitals import Heard, Seen, Vitals
from worker.whereabouts import places

TERMINAL: Final = {"COLUMNS": "100", "FORCE_COLOR": "1", "TERM": "xterm"}
NOW: Final = datetime(2026, 11, 24, 10, 2, tzinfo=UTC)
BROKER: Final = URL("amqp://notify-worker@localhost/")


def shown(write: Callable[[], None]) -> str:
    """What `write` prints on such a terminal, without its colours."""
    before, out = dict(os.environ), StringIO()
    os.environ.update(TERMINAL)
    try:
        with redirect_stdout(out):
            write()
    finally:
        os.environ.clear()
        os.environ.update(before)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    return "\n".join(line.rstrip() for line in plain.splitlines()).strip("\n") + "\n"


def whereis_screen() -> str:
    """A mail that was delivered at the second attempt, and one of the same event that is dead."""
    facts = [
        _fact("10:01:03.184", "retry", "3f2a9c41", code="smtp-busy", detail="450 4.2.1 Busy", tier="10s"),
        _fact("10:01:03.190", "dead", "b07d55e2", code="recipient-refused", detail="550 5.1.1 No such user"),
        _fact("10:01:14.020", "delivered", "3f2a9c41", detail="250 2.0.0 Ok: queued as 4F2A1", attempt=2),
    ]
    depths = {dead_queue("exhausted"): Depth(1, 0)}
    return shown(lambda: print_found(whereis.Found(facts, places(facts, "notify", NOW), depths), NOW))


def doctor_screen() -> str:
    """The part about the broker, without its management API: a dead letter waits."""
    return shown(lambda: asyncio.run(_print_findings()))


def _fact(
    at: str, what: str, mail: str, *, code: str = "", detail: str = "", tier: str = "", attempt: int = 1
) -> Fact:
    return Fact(
        f"2026-11-24T{at}Z",
        what,
        mail,
        "6b1c1d7e-1f4e-4f0c-9f5a-0c2d6f1f7a10",
        code=code,
        detail=detail,
        lane="standard",
        attempt=attempt,
        tier=tier,
        dead_id="01KAV6Z3N2QH5T8W4C9XGJ7RDE" if what == "dead" else "",
        trace="4bf92f3577b34da6a3ce929d0e0e4736",
        worker=WORKER,
        settings_rev=SETTINGS_REV,
    )


async def _print_findings() -> None:
    await screens.print_findings(_findings(), as_json=False)


async def _findings() -> AsyncIterator[Finding]:
    wanted = whole_topology()
    found = [survey.Found(kind_of(it), it.name, State.PRESENT) for it in wanted.things]
    depths = {work_queue(lane): Depth(0, 1) for lane in Lane} | {dead_queue("exhausted"): Depth(1, 0)}
    here = Vitals(BROKER, "notify", Seen(), [*found, *survey.compared(wanted, None)], depths)
    yield vitals.broker({"product": "RabbitMQ", "version": "4.0.5"}, BROKER)
    for judge in (vitals.flags, vitals.topology, vitals.limits, vitals.queues, vitals.dead):
        for finding in judge(here):
            yield finding
    heard = Heard("2026-11-24T10:01:14.020Z", WORKER, {WORKER: SETTINGS_REV})
    for finding in vitals.told(heard, SETTINGS_REV):
        yield finding
    yield vitals.clock(here.seen, heard, NOW)


if __name__ == "__main__":
    sys.stdout.write(f"{whereis_screen()}\n{doctor_screen()}")
