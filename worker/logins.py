"""A login's trouble touches only that login's mail, and costs the server a handful of tries.

The first mail of a sender at a login goes alone; the others wait to see how it ends. What is said against a
login or a sender is remembered, and answered from memory until it is time for one try more. With OAuth2 a
refused login may heal by itself, since permissions take 15 to 30 minutes to spread: for that long its mail
waits in the retry tiers. Everything else is the settings' fault at once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from contracts.dead_letter import Reason
from contracts.signals import Action
from worker.connector import NotAdmittedError
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.plan import Anonymous, ConnectionPlan, OAuth2
from worker.smtp.pool import BudgetSpentError

FIRST_TRY_AFTER_SECONDS: Final = 60.0
LONGEST_TRY_AFTER_SECONDS: Final = 300.0
SHORTEST_WAIT_SECONDS: Final = 10.0
MOST_STANDINGS: Final = 10_000
REFUSALS: Final = frozenset(
    {
        Reason.SMTP_AUTHENTICATION_REFUSED,
        Reason.SMTP_AUTHENTICATION_MISSING,
        Reason.SMTP_SEND_AS_DENIED,
        Reason.SMTP_QUOTA,
        Reason.OAUTH2_CLIENT_REFUSED,
        Reason.OAUTH2_SCOPE_REFUSED,
        Reason.SMTP_PORT_MISMATCH,
        Reason.SMTP_TLS_VERSION,
        Reason.SMTP_CERTIFICATE,
        Reason.SMTP_STARTTLS_MISSING,
    }
)
"""What is said against the way in or the sender, and so of every mail that takes it."""

SAID_OF_LOGINS: Final = frozenset({Reason.SMTP_AUTHENTICATION_REFUSED, Reason.SMTP_AUTHENTICATION_MISSING})
"""What cannot be true of one that was let in: some servers say it of a recipient not everybody may write to."""

SAID_OF_NO_SENDER: Final = frozenset(
    {Reason.EXPIRED, Reason.ADDRESS_UNSUPPORTED, Reason.MESSAGE_TOO_LARGE, Reason.UNEXPECTED}
)
"""Found out here, before the server was asked: it tells nothing of the sender."""

Clock = Callable[[], float]

log = structlog.get_logger()


@dataclass(slots=True)
class Standing:
    """What is known of one sender at one login. `refusal` is what was said against it, since `since`.

    Each lane has a turn of its own, so that a standard mail that waits for a session holds up no urgent one.
    """

    proven: bool = False
    refusal: PermanentError | TransientError | None = None
    since: float = 0.0
    next_try: float = 0.0
    wait: float = FIRST_TRY_AFTER_SECONDS
    alone: tuple[asyncio.Lock, asyncio.Lock] = field(default_factory=lambda: (asyncio.Lock(), asyncio.Lock()))

    def accepted(self) -> None:
        """The server took a mail, or refused it for another reason."""
        self.proven, self.refusal, self.wait = True, None, FIRST_TRY_AFTER_SECONDS

    def refused(self, refusal: PermanentError | TransientError, now: float) -> None:
        """The server said no; each time in a row it is left alone for longer, or as long as it asked for."""
        if self.refusal is None:
            self.since = now
        elif now >= self.next_try:  # not one of several that were under way together
            self.wait = min(self.wait * 2, LONGEST_TRY_AFTER_SECONDS)
        self.proven, self.refusal = False, refusal
        asked = refusal.retry_after if isinstance(refusal, TransientError) else None
        self.next_try = now + (self.wait if asked is None else asked)


class Logins:
    """The standing of every sender at every login; for `grace_seconds` a refused OAuth2 login may heal."""

    def __init__(self, *, grace_seconds: float, clock: Clock = time.monotonic) -> None:
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._standings: dict[tuple[ConnectionPlan, str], Standing] = {}

    @asynccontextmanager
    async def trial(
        self, plan: ConnectionPlan, sender: str, *, urgent: bool, deadline: float
    ) -> AsyncIterator[None]:
        """Around the sending of one mail: raises what is remembered, and remembers what is said.

        A refusal is raised as it counts now: a TransientError while an OAuth2 login may still heal. Raises
        BudgetSpentError where the mail before takes until `deadline`, in monotonic seconds.
        """
        standing = self._standing(plan, sender)
        async with AsyncExitStack() as turn:
            if not standing.proven:
                await _its_turn(turn, standing.alone[urgent], deadline - self._clock())
            if standing.proven:
                await turn.aclose()
            if standing.refusal and self._clock() < standing.next_try:
                raise self._as_it_counts(plan, standing)
            try:
                yield
            except PermanentError as error:
                raise self._judged(plan, standing, error) from error
            except TransientError as error:
                if error.scope is Scope.MESSAGE:
                    standing.accepted()
                elif error.scope is Scope.LOGIN and error.reason is not Reason.TOKEN_UNAVAILABLE:
                    standing.refused(error, self._clock())
                    _say(plan, standing)
                raise
            standing.accepted()

    def _standing(self, plan: ConnectionPlan, sender: str) -> Standing:
        if len(self._standings) >= MOST_STANDINGS and (plan, sender) not in self._standings:
            del self._standings[next(iter(self._standings))]
        return self._standings.setdefault((plan, sender), Standing())

    def _judged(
        self, plan: ConnectionPlan, standing: Standing, error: PermanentError
    ) -> PermanentError | TransientError:
        if error.reason in SAID_OF_NO_SENDER:
            return error
        if error.reason not in REFUSALS and not isinstance(error, NotAdmittedError):
            standing.accepted()
            return error
        if _is_of_one_mail(plan, standing, error):
            standing.accepted()
            return _as_of_one_mail(plan, error)
        standing.refused(error, self._clock())
        _say(plan, standing)
        return self._as_it_counts(plan, standing)

    def _as_it_counts(self, plan: ConnectionPlan, standing: Standing) -> PermanentError | TransientError:
        refusal = standing.refusal
        assert refusal is not None  # noqa: S101 - only asked where there is one
        if isinstance(refusal, TransientError):
            wait = max(standing.next_try - self._clock(), SHORTEST_WAIT_SECONDS)
            return TransientError(refusal.reason, refusal.detail, scope=Scope.LOGIN, retry_after=wait)
        heals_until = standing.since + self._grace_seconds
        if not _may_heal(plan, refusal) or self._clock() >= heals_until:
            return PermanentError(refusal.reason, refusal.detail, settings=refusal.settings, hint=refusal.hint)
        wait = min(standing.next_try, heals_until) - self._clock()
        return TransientError(
            refusal.reason, refusal.detail, scope=Scope.LOGIN, retry_after=max(wait, SHORTEST_WAIT_SECONDS)
        )


async def _its_turn(turn: AsyncExitStack, alone: asyncio.Lock, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await turn.enter_async_context(alone)
    except TimeoutError:
        raise BudgetSpentError from None


def _is_of_one_mail(plan: ConnectionPlan, standing: Standing, error: PermanentError) -> bool:
    """Whether it holds for this mail alone, since the login, or the sender, is known to be good."""
    return error.of_one_mail and (standing.proven or _is_of_a_recipient(plan, error))


def _as_of_one_mail(plan: ConnectionPlan, error: PermanentError) -> PermanentError:
    # Who has logged in has no setting to mend.
    return PermanentError(Reason.MESSAGE_REFUSED, error.detail) if _is_of_a_recipient(plan, error) else error


def _is_of_a_recipient(plan: ConnectionPlan, error: PermanentError) -> bool:
    return not isinstance(plan.authentication, Anonymous) and error.reason in SAID_OF_LOGINS


def _may_heal(plan: ConnectionPlan, refusal: PermanentError) -> bool:
    return isinstance(plan.authentication, OAuth2) and refusal.reason is Reason.SMTP_AUTHENTICATION_REFUSED


def _say(plan: ConnectionPlan, standing: Standing) -> None:
    assert standing.refusal is not None  # noqa: S101 - only said where there is one
    log.warning(
        "the server refuses this login or sender; its mail is answered from memory for a while",
        action=Action.LOGIN_REFUSED,
        code=standing.refusal.reason,
        host=plan.host,
        port=plan.port,
        next_try_seconds=standing.wait,
    )
