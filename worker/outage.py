"""The server's trouble is not the messages': after three failures in a row the worker stops taking mail.

While the server is away nothing is consumed and no attempt is counted; a probe that only connects and logs in
finds out when to go on. Settings that never connected at all, for as long as the worker is patient, end as dead
letters, since then it is likelier the settings than the server.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from contracts.dead_letter import Reason
from contracts.signals import Action
from worker.errors import PermanentError, Scope, TransientError, kind_and_place
from worker.smtp.plan import ConnectionPlan

FAILURES_IN_A_ROW: Final = 3
FIRST_PROBE_SECONDS: Final = 1.0
LONGEST_PROBE_SECONDS: Final = 30.0

log = structlog.get_logger()


class Outage:
    """Whether the mail server is away, and since when."""

    def __init__(self, *, give_up_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._give_up_seconds = give_up_seconds
        self._clock = clock
        self._failures = 0
        self._since = 0.0
        self._began = asyncio.Event()
        self.plan: ConnectionPlan | None = None
        self.error: TransientError | None = None
        self.ever_connected = False
        self.next_probe_seconds = FIRST_PROBE_SECONDS

    @property
    def open(self) -> bool:
        """Whether the server counts as away."""
        return self._began.is_set()

    @property
    def breakers(self) -> dict[str, bool]:
        """`host:port` of the mail server, once there was trouble with it -> whether it counts as away."""
        return {f"{self.plan.host}:{self.plan.port}": self.open} if self.plan else {}

    @property
    def given_up(self) -> bool:
        """Whether settings that never worked have had all the patience there is."""
        waited = self._clock() - self._since
        return self.open and not self.ever_connected and waited >= self._give_up_seconds

    def connected(self) -> None:
        """A session was opened: these settings do work."""
        self.ever_connected = True

    def worked(self) -> None:
        """A mail was accepted: the next outage is probed soon again."""
        self.answered()
        self.next_probe_seconds = FIRST_PROBE_SECONDS

    def answered(self) -> None:
        """A probe got through; whether mail does has yet to be seen."""
        self._failures = 0
        self._began.clear()

    def failed(self, plan: ConnectionPlan, error: TransientError) -> None:
        """The server was in trouble for one mail; the third in a row begins an outage."""
        if not self._failures:
            self._since = self._clock()
        self._failures += 1
        self.plan, self.error = plan, error
        if self._failures >= FAILURES_IN_A_ROW:
            self._began.set()

    def suspect(self, plan: ConnectionPlan) -> None:
        """The server was away a moment ago, and counts so until a probe, due at once, tells otherwise."""
        self._since = self._clock()
        self.plan, self.next_probe_seconds = plan, 0.0
        self._began.set()

    def as_outage(self, error: PermanentError) -> PermanentError | TransientError:
        """What an error counts as now: settings that connected before and cannot any more are an outage."""
        if self.ever_connected and error.reason in FAULTS_OF_CONNECTING:
            return TransientError(Reason.SMTP_UNREACHABLE, error.detail, scope=Scope.SERVER)
        return error

    async def wait_until_open(self) -> None:
        """Returns when an outage begins."""
        await self._began.wait()


FAULTS_OF_CONNECTING: Final = frozenset(
    {
        Reason.SMTP_PORT_MISMATCH,
        Reason.SMTP_TLS_VERSION,
        Reason.SMTP_CERTIFICATE,
        Reason.SMTP_STARTTLS_MISSING,
        Reason.SMTP_RELAY_REFUSED,
        Reason.SMTP_AUTHENTICATION_MISSING,
    }
)


async def guard(
    outage: Outage,
    *,
    pause: Callable[[], None],
    resume: Callable[[], None],
    probe: Callable[[ConnectionPlan], Awaitable[None]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Pauses consumption in every outage, probes, and resumes. Runs until cancelled."""
    while True:
        await outage.wait_until_open()
        _say(Action.PAUSE, "the mail server is in trouble; consuming is paused", outage)
        pause()
        await _probe_until_well(outage, resume, probe, sleep)
        _say(Action.RESUME, "the mail server is back; consuming goes on", outage)
        resume()


async def _probe_until_well(
    outage: Outage,
    resume: Callable[[], None],
    probe: Callable[[ConnectionPlan], Awaitable[None]],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    while outage.open and outage.plan is not None:
        await sleep(outage.next_probe_seconds * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        longer = max(outage.next_probe_seconds * 2, FIRST_PROBE_SECONDS)
        outage.next_probe_seconds = min(longer, LONGEST_PROBE_SECONDS)
        try:
            await probe(outage.plan)
        except TransientError as error:
            outage.error = error
            _say(Action.PROBE, "the mail server is still in trouble", outage)
        except PermanentError:
            # It answers, and the settings are at fault: that is for each event to say.
            outage.answered()
        except Exception as bug:  # noqa: BLE001 - a bug in probing must not end the worker
            log.error("a probe failed in an unknown way", action=Action.PROBE, error=kind_and_place(bug))
        else:
            outage.answered()
        if outage.given_up:
            _say(Action.WARN, "these settings never connected; events become dead letters", outage)
            resume()


def _say(action: Action, sentence: str, outage: Outage) -> None:
    code = outage.error.reason if outage.error else ""
    host, port = (outage.plan.host, outage.plan.port) if outage.plan else ("", 0)
    log.warning(sentence, action=action, code=code, host=host, port=port)
