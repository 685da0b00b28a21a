"""One state of the settings, and all that it decides: from the plan and the pool to the marks of dead letters.

A revision is built whole and never changed. When the settings change another one takes over.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Self

import structlog
from pydantic import SecretStr

from contracts.signals import Action
from worker.address import Mailbox, parse_mailbox
from worker.adoption import Runs
from worker.connector import Connector
from worker.copies import Copies
from worker.deliver import Courier
from worker.journal import Journal
from worker.logins import Logins
from worker.outage import Outage
from worker.pipeline import Deliver, Pipeline
from worker.proofread import opened
from worker.quarantine import Quarantine
from worker.recent import RecentMails
from worker.redact import Redactor
from worker.render import Renderer
from worker.settings import Settings, settings_revision
from worker.settle import Publish, Settler
from worker.smtp.diagnose import Diagnosis
from worker.smtp.oauth2 import Token, TokenSource
from worker.smtp.opening import open_session, trust
from worker.smtp.plan import Anonymous, ConfigurationError, ConnectionPlan, faults, plan, warnings
from worker.smtp.pool import Limits, Pool
from worker.smtp.session import Session

RESERVED_WHERE_LIMITED: Final = 1
MAILS_PER_SESSION: Final = 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Groundwork:
    """What takes time to make of settings, some 200 ms, and may fail."""

    settings: Settings
    rev: str
    smtp_trust: ssl.SSLContext
    token_trust: ssl.SSLContext
    renderer: Renderer

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises TemplatesError, and OSError where the CA file cannot be used any more."""
        return cls(
            settings,
            settings_revision(settings),
            trust(settings.worker.smtp_ca_file),
            ssl.create_default_context(),
            renderer(settings),
        )


@dataclass(frozen=True, slots=True)
class Lasting:
    """What outlives every revision: the broker's side, and what is known of mails. `worker` is our name."""

    publish: Publish
    journal: Journal
    recent: RecentMails
    runs: Runs
    quarantine: Quarantine
    redact: Redactor
    worker: str


class Revision:
    """Ready to send by the settings in `ground`; its pipeline gives each mail to `deliver`.

    `before` is the revision it takes over from: its outage has still to be probed, and its messages a minute
    count on.
    """

    def __init__(
        self, ground: Groundwork, lasting: Lasting, deliver: Deliver, before: "Revision | None" = None
    ) -> None:
        self.settings, self.rev = ground.settings, ground.rev
        own = self.settings.worker
        self._smtp_trust = ground.smtp_trust
        self._diagnosis = Diagnosis()
        self._tokens = TokenSource(ground.token_trust)
        self.outage = Outage(give_up_seconds=own.retry_give_up_seconds)
        self.connector = Connector(self._open, self._tokens, self.outage)
        self.pool: Pool[ConnectionPlan, Session] = Pool(self.connector.open, lambda _: _limits(self.settings))
        self._plan = partial(plan, self.settings.smtp, entra_authority=own.entra_authority)
        self._courier = Courier(
            plan=self._plan,
            pool=self.pool,
            recent=lasting.recent,
            outage=self.outage,
            logins=Logins(grace_seconds=own.auth_grace_seconds),
        )
        self.deliver: Deliver = self._courier.deliver
        self.pipeline = self._make_pipeline(ground.renderer, lasting, deliver)
        if before:
            self._take_over(before)

    def _make_pipeline(self, renderer: Renderer, lasting: Lasting, deliver: Deliver) -> Pipeline:
        own = self.settings.worker
        settler = Settler(
            publish=lasting.publish,
            journal=lasting.journal,
            runs=lasting.runs,
            prefix=own.prefix,
            copies=Copies(lasting.redact, self.rev, lasting.worker),
            give_up_seconds=own.retry_give_up_seconds,
            now=lambda: datetime.now(UTC),
        )
        return Pipeline(
            renderer,
            deliver,
            settler.settle,
            journal=lasting.journal,
            runs=lasting.runs,
            quarantine=lasting.quarantine,
            redact=lasting.redact,
            mails_at_once=self.settings.max_sessions * MAILS_PER_SESSION,
        )

    @property
    def is_to_mend(self) -> bool:
        """Whether what died by the settings before is to be sent again."""
        return self.settings.worker.redrive_after_fix

    @property
    def patience_seconds(self) -> float:
        """How long a refused login may heal: only with OAuth2, where permissions take a while to spread."""
        smtp, own = self.settings.smtp, self.settings.worker
        return float(own.auth_grace_seconds) if smtp.EmailSmtpUseOAuth2 else 0.0

    @property
    def token_seconds(self) -> float | None:
        """How long the shortest-lived token is good; None without one."""
        return self._tokens.expires_in()

    async def try_out(self) -> None:
        """Connects and logs in, for a mail of the default sender. Raises PermanentError and TransientError."""
        await self.connector.probe(self._default_plan())

    async def close(self) -> None:
        """Closes the idle sessions, and the others as soon as their mail has ended; gives up token requests."""
        await self.pool.close()
        await self._tokens.close()

    def say(self) -> None:
        """What sends no mail by these settings, and what else should be known of them, to the log."""
        sender = default_sender(self.settings)
        for fault in faults(self.settings.smtp, sender.address if sender else None):
            log.warning("these settings send no mail", action=Action.WARN, code=fault.reason, text=str(fault))
        for sentence in (*self.settings.warnings, *warnings(self.settings.smtp)):
            log.warning(sentence, action=Action.WARN)

    def _take_over(self, before: "Revision") -> None:
        self.pool.count_on(before.pool.sent(_mailbox_of), _mailbox_of)
        if before.outage.ever_connected and _way(before.settings) == _way(self.settings):
            self.outage.connected()
        if before.outage.open:
            self._inherit_outage()

    def _inherit_outage(self) -> None:
        """Whether the server is still away by the new settings, a probe tells before mail does."""
        with suppress(ConfigurationError):
            self.outage.suspect(self._default_plan())

    def _default_plan(self) -> ConnectionPlan:
        sender = default_sender(self.settings)
        return self._plan(sender.address if sender else None)

    async def _open(self, connection: ConnectionPlan, token: Callable[[], Awaitable[Token]] | None) -> Session:
        return await open_session(
            connection,
            timeout=self.settings.worker.smtp_timeout_seconds,
            tls=self._smtp_trust,
            token=token,
            local_hostname=socket.gethostname(),
            diagnosis=self._diagnosis,
        )


def _limits(settings: Settings) -> Limits:
    rate = settings.messages_per_minute
    return Limits(
        sessions=settings.max_sessions,
        messages_per_minute=rate,
        reserved=RESERVED_WHERE_LIMITED if rate else 0,
    )


def renderer(settings: Settings) -> Renderer:
    """What makes mails of events. Raises TemplatesError."""
    own = settings.worker
    stationery, passed_over = opened(
        own.templates_dir, fallback=own.templates_fallback, bilingual=own.languages_together
    )
    for fault in passed_over:
        log.warning("a file of templates is passed over", action=Action.WARN, text=str(fault))
    return Renderer(default_sender=default_sender(settings), stationery=stationery)


def default_sender(settings: Settings) -> Mailbox | None:
    """The From of mails whose event has none; with OAuth2 the mailbox that logs in, if no other is set."""
    smtp = settings.smtp
    fallback = smtp.EmailSmtpUsername if smtp.EmailSmtpUseOAuth2 else ""
    text = settings.worker.default_from or fallback
    with suppress(ValueError):
        return parse_mailbox(text)
    return None


def secrets(settings: Settings) -> list[str]:
    """What must be shown nowhere."""
    smtp = settings.smtp
    return [smtp.EmailSmtpPassword.get_secret_value(), smtp.EmailSmtpOAuth2ClientSecret.get_secret_value()]


def _mailbox_of(plan: ConnectionPlan) -> tuple[str, str]:
    """Whose limits a server counts: a new password, or another way in, makes no new mailbox."""
    login = plan.authentication
    return plan.host, "" if isinstance(login, Anonymous) else login.username


def _way(settings: Settings) -> object:
    """What decides whether a session can be opened at all; that a secret was changed makes it no other way."""
    smtp = settings.smtp.model_dump()
    return {name: bool(value) if isinstance(value, SecretStr) else value for name, value in smtp.items()}, (
        settings.worker.smtp_ca_file,
        settings.worker.entra_authority,
    )
