"""One rendered mail -> a session of the right login -> how it ended.

What a failure is the trouble of decides what happens: the message's own waits alone, the server's stops the
consuming of all, and where the settings are at fault nothing is tried again.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

from opentelemetry.trace import SpanKind

from contracts.dead_letter import Reason, rfc3339
from contracts.signals import Attribute
from contracts.signals import Span as SpanName
from contracts.topology import Lane
from worker import metrics, telemetry
from worker.connector import NotOpenedError
from worker.errors import PermanentError, Scope, TransientError
from worker.logins import Logins
from worker.mime import compose, needs_smtputf8
from worker.outage import Outage
from worker.outcome import Dead, Delivered, Interrupted, Outcome, Retry, Suppressed
from worker.recent import RecentMails
from worker.render import Mail
from worker.retry import retrying_blips
from worker.smtp.pace import Pace
from worker.smtp.plan import ConnectionPlan
from worker.smtp.pool import BudgetSpentError, Pool, PoolClosedError, Slot
from worker.smtp.replies import Reply
from worker.smtp.session import Session, StaleSessionError

_TOO_MANY: Final = frozenset({Reason.SMTP_THROTTLED, Reason.SMTP_BUSY})
"""Said to a session that is one too many, while others are open."""


class ServerAwayError(Exception):
    """An outage is open: the mail is not tried."""


class Courier:
    """Sends mails through the pool; `plan` says how, for a bare From address or None."""

    def __init__(
        self,
        *,
        plan: Callable[[str | None], ConnectionPlan],
        pool: Pool[ConnectionPlan, Session],
        recent: RecentMails,
        outage: Outage,
        logins: Logins,
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._recent = recent
        self._outage = outage
        self._logins = logins
        self._paces: defaultdict[ConnectionPlan, Pace] = defaultdict(Pace)

    async def deliver(self, mail: Mail, *, urgent: bool, deadline: float) -> Outcome:
        """Sends `mail` unless it was delivered before; a session must be got by `deadline`, monotonic seconds.

        Nothing is cut once sending has begun. Raises PermanentError where trying again cannot help.
        """
        async with self._recent.claim(mail.key) as is_to_be_sent:
            if not is_to_be_sent:
                return Suppressed("duplicate")
            outcome = await self._outcome(mail, urgent=urgent, deadline=deadline)
            if isinstance(outcome, Delivered):
                self._recent.delivered(mail.key)
            return outcome

    async def _outcome(self, mail: Mail, *, urgent: bool, deadline: float) -> Outcome:
        sender = mail.letter.sender
        plan = self._plan(sender.address if sender else None)
        send = partial(self._send, mail, plan, urgent=urgent, deadline=deadline)
        _check_expiry(mail)
        try:
            reply: Reply = await retrying_blips(asyncio.sleep)(send)
        except TransientError as error:
            return self._of_transient(error, plan)
        except ServerAwayError:
            return self._of_outage()
        except PoolClosedError:
            return Interrupted("drain")
        except BudgetSpentError:
            return Interrupted("budget")
        self._outage.worked()
        return Delivered(f"{reply.code} {reply.text}")

    async def _send(self, mail: Mail, plan: ConnectionPlan, *, urgent: bool, deadline: float) -> Reply:
        sender = mail.letter.sender.address if mail.letter.sender else ""
        async with self._logins.trial(plan, sender, urgent=urgent, deadline=deadline):
            while True:
                if self._outage.open:
                    raise ServerAwayError
                asked = time.monotonic()
                try:
                    async with self._pool.lease(plan, urgent=urgent, deadline=deadline) as slot:
                        lane = Lane.URGENT if urgent else Lane.STANDARD
                        metrics.smtp_pool_wait.record(time.monotonic() - asked, lane)
                        _check_expiry(mail)
                        return await self._transact(slot, plan, mail)
                except StaleSessionError:
                    # It died while idle, or the mail before brought it down: no attempt is counted.
                    continue
                except NotOpenedError as error:
                    if error.reason not in _TOO_MANY or not self._pool.shrink(plan):
                        raise

    def _of_transient(self, error: TransientError, plan: ConnectionPlan) -> Outcome:
        is_servers = error.scope is Scope.SERVER or error.reason is Reason.TOKEN_UNAVAILABLE
        if is_servers or error.unknown:
            self._outage.failed(plan, error)
        return Interrupted("server", error) if is_servers and not error.unknown else Retry(error)

    def _of_outage(self) -> Outcome:
        if self._outage.given_up and self._outage.error is not None:
            return Dead(self._outage.error)
        return Interrupted("server")

    async def _transact(self, slot: Slot[Session], plan: ConnectionPlan, mail: Mail) -> Reply:
        # Composed only now that there is a session, so that as many are in memory as sessions can take.
        message = compose(mail.letter)
        sender = mail.letter.sender
        assert sender is not None, "the plan refused it"  # noqa: S101 - for the type checker
        attributes = {
            Attribute.NETWORK_PROTOCOL: "smtp",
            Attribute.SERVER_ADDRESS: plan.host,
            Attribute.SERVER_PORT: plan.port,
            Attribute.TLS_VERSION: slot.session.server.tls_version,
            Attribute.SMTP_SESSION_REUSED: slot.sent > 0,
        }
        began = time.monotonic()
        with telemetry.span(SpanName.SMTP_SEND, SpanKind.CLIENT, attributes=attributes):
            reply = await slot.session.send(
                sender.address,
                mail.letter.to.address,
                message,
                smtputf8=needs_smtputf8(mail.letter),
                pace=self._paces[plan],
                ending=partial(self._pool.hand_on, plan, slot),
            )
        metrics.smtp_send_duration.record(time.monotonic() - began, f"{plan.host}:{plan.port}")
        return reply


def _check_expiry(mail: Mail) -> None:
    if mail.expires is not None and datetime.now(UTC) >= mail.expires:
        raise PermanentError(Reason.EXPIRED, f"expired at {rfc3339(mail.expires)}")
