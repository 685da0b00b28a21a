"""The revision of the settings in force, and how the next one takes over without dropping or cutting a mail.

A mail that has a session finishes on it. One that only waits, or that ended by what the old settings are to
blame for, is begun again by the new ones, without an attempt being counted.
"""

import asyncio
from collections.abc import Callable

from contracts.dead_letter import ABOUT, DeadClass
from worker import outage
from worker.delivery import Delivery
from worker.errors import PermanentError, Scope
from worker.outcome import Dead, Interrupted, Outcome, Retry
from worker.render import Mail
from worker.revision import Groundwork, Lasting, Revision, secrets


class Succession:
    """Begins with the revision of `ground`; `pause` and `resume` stop the consuming in an outage."""

    def __init__(
        self, ground: Groundwork, lasting: Lasting, *, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self._lasting = lasting
        self._pause = pause
        self._resume = resume
        self._changed = asyncio.Event()
        self._closed = False
        self._retiring: set[asyncio.Task[None]] = set()
        self.current = Revision(ground, lasting, self.deliver)

    async def process(self, delivery: Delivery) -> None:
        """Takes one delivery to its settlement, by the templates and limits in force when it came."""
        await self.current.pipeline.process(delivery)

    async def deliver(self, mail: Mail, *, urgent: bool, deadline: float) -> Outcome:
        """How the mail ended. Raises PermanentError. See `Courier.deliver`."""
        while True:
            revision = self.current
            try:
                outcome = await revision.deliver(mail, urgent=urgent, deadline=deadline)
            except PermanentError as error:
                if revision is self.current or not _is_of_settings(error):
                    raise
            else:
                if revision is self.current or not _was_held_up(outcome):
                    return outcome

    def replace(self, ground: Groundwork) -> bool:
        """Puts another revision in force, unless all is about to end; whether it did."""
        if self._closed:
            return False
        self._lasting.redact.learn(secrets(ground.settings))
        before, self.current = self.current, Revision(ground, self._lasting, self.deliver, self.current)
        before.pool.close_to_new_mail()
        self._lasting.journal.settings_changed(self.current.rev)
        # Its token requests end by themselves: mails of its own may still wait for them.
        retiring = asyncio.create_task(before.pool.close())
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._changed.set()
        return True

    async def guard(self) -> None:
        """Guards against outages by the revision in force. Runs until cancelled."""
        while True:
            self._changed.clear()
            if not self.current.outage.open:
                self._resume()
            changed = asyncio.create_task(self._changed.wait())
            guarding = asyncio.create_task(
                outage.guard(
                    self.current.outage,
                    pause=self._pause,
                    resume=self._resume,
                    probe=self.current.connector.probe,
                )
            )
            try:
                await asyncio.wait({changed, guarding}, return_when=asyncio.FIRST_COMPLETED)
                if guarding.done():
                    guarding.result()
            finally:
                changed.cancel()
                guarding.cancel()

    def close_to_new_mail(self) -> None:
        """Takes no more mail, and no other revision either."""
        self._closed = True
        self.current.pool.close_to_new_mail()

    async def close(self) -> None:
        """Closes all sessions that no mail is on, of those before as well."""
        await asyncio.gather(self.current.close(), *self._retiring)


def _is_of_settings(error: PermanentError) -> bool:
    return ABOUT[error.reason].dead_class is DeadClass.CONFIG


def _was_held_up(outcome: Outcome) -> bool:
    """Whether it never came to a verdict on the mail itself; `budget` means that it has no time left."""
    match outcome:
        case Retry(error):
            return error.scope is not Scope.MESSAGE and not error.unknown
        case Interrupted(why):
            return why != "budget"
    return isinstance(outcome, Dead)
