"""Fix the setting and the mail sends itself: what died by the settings is sent again under mended ones.

Only where somebody asked for it (`NOTIFY_REDRIVE_AFTER_FIX`), after the mail server has let in the settings in
force, and cause by cause, a few first. A cause of which anything has died under the settings in force is not
mended, so several workers that see the same change, or one that starts again, do not try it over and over.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Protocol

import structlog

from contracts.dead_letter import DeadClass, Reason
from contracts.signals import Action
from contracts.topology import dead_queue
from worker.broker import BrokerRefusedError, BrokerUnavailableError
from worker.desk.case import Redrive
from worker.desk.holding import DeskTakenError, held
from worker.desk.letter import Letter
from worker.desk.redrive import Options, Tally
from worker.desk.rounds import send_again
from worker.desk.workplace import Workplace, workplace
from worker.errors import NotifyError, TransientError, kind_and_place
from worker.journal import JournalMissingError

CANARIES: Final = 3
FIRST_WAIT_SECONDS: Final = 15.0
LONGEST_WAIT_SECONDS: Final = 300.0
AGAIN_SECONDS: Final = 10.0
"""Between two tries to be the only one who changes dead letters, or to reach the broker again."""

BY: Final = "worker"
NOTE: Final = "the settings have changed since, and the mail server lets them in"

log = structlog.get_logger()


class InForce(Protocol):
    """What is asked of the revision in force. `patience_seconds` is how long a refused login may heal."""

    rev: str

    @property
    def is_to_mend(self) -> bool:
        """Whether dead letters are to be sent again."""

    @property
    def patience_seconds(self) -> float:
        """How long a login that is refused may still heal; 0 where it does not."""

    async def try_out(self) -> None:
        """Connects and logs in. Raises NotifyError."""


class Mending:
    """Sends again what the revision `in_force` has mended of the dead letters under `prefix`.

    It looks at the start too, since settings of the environment change while no worker runs.
    """

    def __init__(self, url: str, prefix: str, in_force: Callable[[], InForce]) -> None:
        self._url = url
        self._prefix = prefix
        self._in_force = in_force
        self._due = asyncio.Event()
        self._due.set()

    def settings_changed(self) -> None:
        """Another revision is in force: what was begun for the one before is given up."""
        self._due.set()

    async def run(self) -> None:
        """Mends whenever it is due. Runs until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()
            revision = self._in_force()
            try:
                if revision.is_to_mend and await self._is_let_in(revision):
                    await self._mend(revision.rev)
            except (BrokerRefusedError, JournalMissingError) as error:
                _say_stopped(str(error))
            except Exception as bug:  # noqa: BLE001 - the letters are in their queue: a bug must not end the worker
                _say_stopped(kind_and_place(bug))

    async def _is_let_in(self, revision: InForce) -> bool:
        clock = asyncio.get_running_loop().time
        begun, wait = clock(), FIRST_WAIT_SECONDS
        while not self._due.is_set():
            try:
                await revision.try_out()
            except NotifyError as error:
                log.warning(
                    "by these settings nobody is let in; dead letters stay where they are",
                    action=Action.REDRIVE,
                    code=error.reason,
                )
                left = begun + revision.patience_seconds - clock()
                if not isinstance(error, TransientError) and not (_may_heal(error) and left > wait):
                    return False
            else:
                return True
            await self._wait(wait)
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        return False

    async def _mend(self, rev: str) -> None:
        while not self._due.is_set():
            try:
                async with workplace(self._url, self._prefix) as place:
                    await self._send_again(place, rev)
            except DeskTakenError:
                await self._wait(AGAIN_SECONDS)
            except BrokerUnavailableError as error:
                _say_stopped(str(error))
                await self._wait(AGAIN_SECONDS)
            else:
                return

    async def _send_again(self, place: Workplace, rev: str) -> None:
        if not place.has_journal:
            _say_stopped("without the journal nobody could tell what was sent before")
            return
        queues = [dead_queue("config", place.prefix)]
        async with held(place.connection, queues, lambda _letter: True) as letters:
            causes = mended([one.letter.without_body() for one in letters], rev)
        for code, chosen in causes.items():
            if not self._due.is_set():
                options = Options(Redrive(BY, NOTE), CANARIES, skip_expired=True)
                _say_sent(code, await send_again(place, chosen, options))

    async def _wait(self, seconds: float) -> None:
        """Until there is something newer to do, so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._due.wait()


def mended(letters: Iterable[Letter], rev: str) -> dict[str, list[Letter]]:
    """Code -> the letters that died by other settings than those of `rev`; no code that `rev` has as well."""
    of_code: defaultdict[str, list[Letter]] = defaultdict(list)
    for letter in letters:
        if letter.dead_class == DeadClass.CONFIG:
            of_code[letter.code].append(letter)
    return {
        code: of_cause
        for code, of_cause in of_code.items()
        if all(letter.said("settings-rev") != rev for letter in of_cause)
    }


def _may_heal(error: NotifyError) -> bool:
    return error.reason is Reason.SMTP_AUTHENTICATION_REFUSED


def _say_sent(code: str, tally: Tally) -> None:
    song = tally.verdict.song if tally.verdict else ""
    went_on = tally.verdict is None or tally.verdict.goes_on
    (log.info if went_on else log.warning)(
        "dead letters were sent again" if went_on else "the first that were sent again failed; the rest stay",
        action=Action.REDRIVE,
        code=code,
        sent=tally.sent,
        canary=song,
    )


def _say_stopped(why: str) -> None:
    log.warning("dead letters are not sent again for now", action=Action.REDRIVE, why=why)
