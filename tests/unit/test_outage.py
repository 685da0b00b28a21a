"""The server's trouble pauses consuming; a probe ends it."""

import asyncio
from collections.abc import Sequence

import pytest

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.outage import Outage, guard
from worker.smtp.plan import Anonymous, ConnectionPlan, Encryption

PLAN = ConnectionPlan("smtp.example", 25, Encryption.NONE, Anonymous())
AWAY = TransientError(Reason.SMTP_UNREACHABLE, "refused", scope=Scope.SERVER)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now


def in_trouble(outage: Outage, times: int) -> Outage:
    """`outage` after so many failures."""
    for _ in range(times):
        outage.failed(PLAN, AWAY)
    return outage


def test_the_third_failure_in_a_row_begins_an_outage() -> None:
    """Two may be chance."""
    outage = in_trouble(Outage(give_up_seconds=60), 2)
    assert not outage.open
    assert in_trouble(outage, 1).open


def test_a_success_in_between_starts_the_count_anew() -> None:
    """In a row means in a row."""
    outage = in_trouble(Outage(give_up_seconds=60), 2)
    outage.worked()
    assert not in_trouble(outage, 2).open


@pytest.mark.parametrize(
    ("ever", "waited", "over"), [(False, 59, False), (False, 60, True), (True, 600, False)]
)
def test_only_settings_that_never_connected_run_out_of_patience(
    *, ever: bool, waited: float, over: bool
) -> None:
    """An outage of a server that worked before may last as long as it likes."""
    clock = Clock()
    outage = Outage(give_up_seconds=60, clock=clock)
    if ever:
        outage.connected()
    in_trouble(outage, 3)
    clock.now = waited
    assert outage.given_up is over


@pytest.mark.parametrize(
    "reason",
    [
        Reason.SMTP_PORT_MISMATCH,
        Reason.SMTP_TLS_VERSION,
        Reason.SMTP_CERTIFICATE,
        Reason.SMTP_STARTTLS_MISSING,
        Reason.SMTP_RELAY_REFUSED,
        Reason.SMTP_AUTHENTICATION_MISSING,
    ],
)
def test_a_fault_of_connecting_is_an_outage_once_the_settings_have_worked(reason: Reason) -> None:
    """And the settings' fault before that."""
    outage, fault = Outage(give_up_seconds=60), PermanentError(reason)
    assert outage.as_outage(fault) is fault
    outage.connected()
    counted = outage.as_outage(fault)
    assert isinstance(counted, TransientError)
    assert (counted.reason, counted.scope) == (Reason.SMTP_UNREACHABLE, Scope.SERVER)


def test_a_refused_login_is_never_an_outage() -> None:
    """It is the settings' fault, whether they worked before or not."""
    outage, fault = Outage(give_up_seconds=60), PermanentError(Reason.SMTP_AUTHENTICATION_REFUSED)
    outage.connected()
    assert outage.as_outage(fault) is fault


async def guarded(outage: Outage, answers: Sequence[Exception | None]) -> tuple[list[str], list[float]]:
    """What `guard` does in an outage whose probes end as `answers`; and how long it waited each time."""
    said: list[str] = []
    waits: list[float] = []
    remaining = list(answers)
    done = asyncio.Event()

    async def probe(_plan: ConnectionPlan) -> None:
        said.append("probe")
        answer = remaining.pop(0)
        if answer:
            raise answer

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    def resume() -> None:
        said.append("resume")
        if not remaining:
            done.set()

    task = asyncio.create_task(
        guard(outage, pause=lambda: said.append("pause"), resume=resume, probe=probe, sleep=sleep)
    )
    await done.wait()
    task.cancel()
    return said, waits


async def test_it_pauses_probes_and_resumes() -> None:
    """One pause and one resumption, and longer waits in between."""
    outage = in_trouble(Outage(give_up_seconds=60), 3)
    said, waits = await guarded(outage, [AWAY, AWAY, None])
    assert said == ["pause", "probe", "probe", "probe", "resume"]
    assert not outage.open
    assert waits[0] < waits[1] < waits[2]


async def test_probes_stay_slow_until_a_mail_is_accepted() -> None:
    """A server that lets in and takes nothing is left in peace for longer each time."""
    outage = in_trouble(Outage(give_up_seconds=60), 3)
    _, first = await guarded(outage, [None])
    _, second = await guarded(in_trouble(outage, 3), [None])
    outage.worked()
    _, third = await guarded(in_trouble(outage, 3), [None])
    assert first[0] < 1.3 < second[0]
    assert third[0] < 1.3


async def test_a_bug_in_probing_does_not_end_the_guard() -> None:
    """It goes on probing."""
    outage = in_trouble(Outage(give_up_seconds=60), 3)
    said, _ = await guarded(outage, [KeyError("bug"), None])
    assert said == ["pause", "probe", "probe", "resume"]


async def test_a_server_that_answers_with_a_permanent_fault_is_not_away() -> None:
    """What it says is for each event to say."""
    outage = in_trouble(Outage(give_up_seconds=60), 3)
    said, _ = await guarded(outage, [PermanentError(Reason.SMTP_AUTHENTICATION_REFUSED)])
    assert said == ["pause", "probe", "resume"]
    assert not outage.open


async def test_out_of_patience_it_consumes_although_the_server_is_away() -> None:
    """So that the events become dead letters; and it goes on probing."""
    outage = in_trouble(Outage(give_up_seconds=0), 3)
    said, _ = await guarded(outage, [AWAY, AWAY, None])
    assert said == ["pause", "probe", "resume", "probe", "resume", "probe", "resume"]
