"""When to try again, and when to give up."""

from datetime import UTC, datetime, timedelta

import pytest
from tenacity import RetryError

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.retry import is_blip, retrying_blips, tier_for, tier_in_time

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def busy(*, hint: float | None = None, unknown: bool = False) -> TransientError:
    """A passing trouble of one message."""
    return TransientError(Reason.SMTP_BUSY, scope=Scope.MESSAGE, retry_after=hint, unknown=unknown)


@pytest.mark.parametrize(
    ("error", "blip"),
    [
        pytest.param(busy(), True, id="transient"),
        pytest.param(busy(hint=3.0), True, id="transient, back in 3 s"),
        pytest.param(busy(hint=60.0), False, id="transient, back in a minute: a tier's work"),
        pytest.param(busy(unknown=True), False, id="perhaps accepted: never at once"),
        pytest.param(PermanentError(Reason.EXPIRED), False, id="permanent"),
        pytest.param(TimeoutError(), False, id="a stranger"),
        pytest.param(KeyboardInterrupt(), False, id="not an error"),
    ],
)
def test_only_what_may_pass_within_seconds_is_tried_at_once(error: BaseException, *, blip: bool) -> None:
    """One row a kind of error."""
    assert is_blip(error) is blip


async def test_a_blip_is_tried_three_times_and_then_raised_as_it_is() -> None:
    """Bounded, jittered, and the last error speaks."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    tries = 0

    async def send() -> None:
        nonlocal tries
        tries += 1
        raise busy()

    with pytest.raises(TransientError) as raised:
        await retrying_blips(sleep)(send)
    assert not isinstance(raised.value, RetryError)
    assert tries == 3
    assert len(waits) == 2
    assert all(0 <= wait <= 2 for wait in waits)


async def test_the_servers_hint_is_the_wait() -> None:
    """Two seconds asked for are two seconds."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def send() -> None:
        raise busy(hint=2.0)

    with pytest.raises(TransientError):
        await retrying_blips(sleep)(send)
    assert waits == [2.0, 2.0]


async def test_a_permanent_error_is_not_retried() -> None:
    """One try."""
    tries = 0

    async def send() -> None:
        nonlocal tries
        tries += 1
        raise PermanentError(Reason.MESSAGE_REFUSED)

    with pytest.raises(PermanentError):
        await retrying_blips(_no_sleep)(send)
    assert tries == 1


async def _no_sleep(_seconds: float) -> None:
    pytest.fail("waited")


@pytest.mark.parametrize(
    ("attempts", "hint", "tier"),
    [
        (1, None, "10s"),
        (2, None, "1m"),
        (3, None, "5m"),
        (4, None, "30m"),
        (5, None, "2h"),
        (6, None, "2h"),
        (99, None, "2h"),
        (0, None, "10s"),
        (1, 1.0, "10s"),
        (1, 10.0, "10s"),
        (1, 11.0, "1m"),
        (5, 60.0, "1m"),
        (1, 90.0, "5m"),
        (1, 999_999.0, "2h"),
    ],
)
def test_the_tier_is_the_ladders_or_the_first_as_long_as_the_hint(
    attempts: int, hint: float | None, tier: str
) -> None:
    """10 s, 1 m, 5 m, 30 m, then every 2 h."""
    assert tier_for(attempts, hint) == tier


@pytest.mark.parametrize(
    ("attempts", "hint", "left", "tier"),
    [
        pytest.param(5, None, 7_200, "2h", id="back exactly in time"),
        pytest.param(5, None, 7_199, "30m", id="the ladder's tier is too late, a shorter one is not"),
        pytest.param(3, None, 61, "1m", id="two steps shorter"),
        pytest.param(1, None, 9, None, id="too late for any"),
        pytest.param(1, 60.0, 61, "1m", id="the hint fits"),
        pytest.param(1, 60.0, 59, None, id="never sooner than the server asked"),
    ],
)
def test_the_tier_is_one_that_is_back_in_time(
    attempts: int, hint: float | None, left: int, tier: str | None
) -> None:
    """Before the event expires, or patience ends; where none is, it is given up."""
    assert tier_in_time(attempts, hint, now=NOW, until=NOW + timedelta(seconds=left)) == tier
