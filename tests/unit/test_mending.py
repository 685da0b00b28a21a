"""Which dead letters changed settings may have mended, and how long a login is waited for."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest
import structlog
from structlog.typing import EventDict

from contracts.dead_letter import ABOUT, Reason
from tests.support.amqp import until
from worker import mending
from worker.desk.letter import Letter, Properties
from worker.errors import NotifyError, PermanentError, Scope, TransientError
from worker.mending import Mending, mended

NOWHERE: Final = "amqp://127.0.0.1:1/"
REFUSED: Final = PermanentError(Reason.SMTP_AUTHENTICATION_REFUSED)
AWAY: Final = TransientError(Reason.SMTP_UNREACHABLE, scope=Scope.SERVER)


def letter(reason: Reason, rev: str) -> Letter:
    """One that died of `reason` under `rev`."""
    about = ABOUT[reason]
    headers = {"notify-dead-id": "01J", "notify-class": about.dead_class, "notify-code": reason}
    if rev:
        headers["notify-settings-rev"] = rev
    return Letter.read("notify.dead.config", f"{about.dead_class}.{reason}", headers, b"", Properties())


def test_what_died_under_other_settings_may_be_mended() -> None:
    """By cause, whichever settings they were."""
    letters = [letter(Reason.OAUTH2_REQUIRES_TLS, rev) for rev in ("one", "two", "")]
    letters.append(letter(Reason.SENDER_MISSING, "one"))
    assert {code: len(those) for code, those in mended(letters, "three").items()} == {
        Reason.OAUTH2_REQUIRES_TLS: 3,
        Reason.SENDER_MISSING: 1,
    }


def test_a_cause_that_the_settings_in_force_have_as_well_is_not_mended() -> None:
    """So a canary that failed is not sent by the next worker again."""
    letters = [letter(Reason.OAUTH2_REQUIRES_TLS, rev) for rev in ("one", "two")]
    assert mended(letters, "two") == {}


def test_what_the_settings_are_not_to_blame_for_stays() -> None:
    """Whoever put it into that queue."""
    assert mended([letter(Reason.RECIPIENT_REFUSED, "one")], "two") == {}


class InForce:
    """Settings whose login ends as the list says, and then works."""

    rev = "rev"
    is_to_mend = True

    def __init__(self, *errors: NotifyError, patience_seconds: float = 0.0) -> None:
        self.patience_seconds = patience_seconds
        self.tries = 0
        self._errors: Iterator[NotifyError] = iter(errors)

    async def try_out(self) -> None:
        """Connects and logs in."""
        self.tries += 1
        for error in self._errors:
            raise error


@asynccontextmanager
async def running(in_force: InForce) -> AsyncIterator[tuple[Mending, list[EventDict]]]:
    """Mending, at a broker that is not there, and what it says."""
    it = Mending(NOWHERE, "notify", lambda: in_force)
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(it.run())
        yield it, logs
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long between two tries."""
    monkeypatch.setattr(mending, "FIRST_WAIT_SECONDS", 0.01)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("in_force", "tries", "goes_on"),
    [
        (InForce(), 1, True),
        (InForce(REFUSED, REFUSED, patience_seconds=60), 3, True),
        (InForce(REFUSED, REFUSED), 1, False),
        (InForce(AWAY, AWAY), 3, True),
        (InForce(PermanentError(Reason.OAUTH2_REQUIRES_TLS), patience_seconds=60), 1, False),
    ],
    ids=["it works", "OAuth2 may heal", "a password does not", "an outage ends", "settings that send nothing"],
)
async def test_a_login_is_waited_for_where_it_may_heal(in_force: InForce, tries: int, *, goes_on: bool) -> None:
    """Then the broker is asked, which is not there: it is said, and the worker lives."""
    async with running(in_force) as (_, logs):
        await until(lambda: len(logs) == tries - 1 + 1)
        assert in_force.tries == tries
    assert ("why" in logs[-1]) is goes_on


async def test_other_settings_are_tried_out_at_once() -> None:
    """Nobody waits for those before."""
    in_force = InForce(AWAY)
    async with running(in_force) as (it, logs):
        await until(lambda: len(logs) == 1)
        it.settings_changed()
        await until(lambda: len(logs) == 2)
        assert in_force.tries == 2
