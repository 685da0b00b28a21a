"""When to try again: blips in process, the message's own trouble in the broker's tiers, and when to give up.

Nothing sleeps while holding a delivery for longer than a blip lasts.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential

from contracts.dead_letter import Reason
from contracts.topology import RETRY_TIERS
from worker.errors import Scope, TransientError

BLIP_TRIES: Final = 3
BLIP_SECONDS: Final = 8.0


class WaitAsHinted(wait_base):
    """The server's own hint where it gave one, else jittered and growing up to two seconds."""

    def __init__(self) -> None:
        self._grow = wait_random_exponential(multiplier=0.2, max=2)

    def __call__(self, retry_state: RetryCallState) -> float:
        """Seconds before the next try."""
        error = retry_state.outcome.exception() if retry_state.outcome else None
        hint = error.retry_after if isinstance(error, TransientError) else None
        return self._grow(retry_state) if hint is None else hint


def is_blip(error: BaseException) -> bool:
    """Whether trying again within seconds may help; never where the message may have been accepted already."""
    return (
        isinstance(error, TransientError)
        and not error.unknown
        and (error.scope is not Scope.LOGIN or error.reason is Reason.TOKEN_UNAVAILABLE)
        and (error.retry_after is None or error.retry_after < BLIP_SECONDS)
    )


def retrying_blips(sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
    """A fresh policy for one mail: a few tries within seconds; the last error is raised as it is."""
    return AsyncRetrying(
        retry=retry_if_exception(is_blip),
        stop=stop_after_attempt(BLIP_TRIES) | stop_before_delay(BLIP_SECONDS),
        wait=WaitAsHinted(),
        sleep=sleep,
        reraise=True,
    )


def tier_for(attempts: int, hint_seconds: float | None = None) -> str:
    """The tier after `attempts` counted attempts: the ladder's step, or the first as long as the hint."""
    tiers = list(RETRY_TIERS)
    step = min(max(attempts, 1), len(tiers)) - 1
    if hint_seconds is not None:
        step = next((n for n, tier in enumerate(tiers) if RETRY_TIERS[tier] >= hint_seconds), len(tiers) - 1)
    return tiers[step]


def tier_in_time(attempts: int, hint_seconds: float | None, *, now: datetime, until: datetime) -> str | None:
    """The tier to wait in, back by `until`: a shorter one than the ladder's if need be, never than the hint.

    None where it would be too late.
    """
    tier = tier_for(attempts, hint_seconds)
    shorter = [tier] if hint_seconds is not None else list(RETRY_TIERS)[: list(RETRY_TIERS).index(tier) + 1]
    in_time = [name for name in shorter if now + timedelta(seconds=RETRY_TIERS[name]) <= until]
    return in_time[-1] if in_time else None
