"""The composition root: settings -> parts, and their life cycle: start -> run -> drain -> close.

Nothing else reads settings, and nothing here decides anything about mail.
"""

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from secrets import token_hex
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection

from contracts.signals import Action
from contracts.topology import DEAD_QUEUES, Lane, dead_queue, journal_stream, journal_topology, topology
from worker import __version__, metrics
from worker.address import Mailbox, parse_mailbox
from worker.adoption import Runs
from worker.broker import BROKER_ERRORS, BrokerRefusedError, Publisher, connect_patiently, made_ready
from worker.connector import Connector
from worker.consume import Consumers, Pause
from worker.copies import Copies
from worker.declare import NotDeclaredError, TopologyDiffersError, declare
from worker.deliver import Courier
from worker.depths import depths
from worker.endpoint import Endpoint
from worker.exporters import Scrape
from worker.health import Health, pages
from worker.journal import Journal, JournalMissingError
from worker.logins import Logins
from worker.outage import Outage, guard
from worker.pipeline import Pipeline
from worker.proofread import opened
from worker.quarantine import Quarantine
from worker.recent import RecentMails
from worker.redact import Redactor
from worker.render import Renderer
from worker.settings import Settings, settings_revision
from worker.settle import Settler
from worker.smtp.diagnose import Diagnosis
from worker.smtp.oauth2 import Token, TokenSource
from worker.smtp.opening import open_session, trust
from worker.smtp.plan import ConnectionPlan, faults, plan, warnings
from worker.smtp.pool import Limits, Pool
from worker.smtp.session import Session
from worker.worker_settings import host_and_port

TIDY_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 2.0
RESERVED_WHERE_LIMITED: Final = 1
STANDARD_PREFETCH_PER_SESSION: Final = 4
URGENT_PREFETCH_PER_SESSION: Final = 2  # so that one is waiting whenever a session comes free
MAILS_PER_SESSION: Final = 2
LOOKS_PER_DECLARATION: Final = 3  # so every half a minute

log = structlog.get_logger()


async def run(settings: Settings, scrape: Scrape | None = None) -> None:
    """The worker's whole life; `scrape` reads its metrics.

    Raises TemplatesError, BrokerRefusedError and TopologyDiffersError at start.
    """
    await Service(settings, scrape).run()


class Service:
    """The worker: all parts, put together from `settings`."""

    def __init__(self, settings: Settings, scrape: Scrape | None = None) -> None:
        self._settings = settings
        self._scrape = scrape
        own = settings.worker
        self._broker_url = own.broker_url.get_secret_value()
        self._tls = trust(own.smtp_ca_file)
        self._tokens = TokenSource(ssl.create_default_context())
        self._diagnosis = Diagnosis()
        self._outage = Outage(give_up_seconds=own.retry_give_up_seconds)
        self._connector = Connector(self._open, self._tokens, self._outage)
        self._pool: Pool[ConnectionPlan, Session] = Pool(self._connector.open, lambda _plan: _limits(settings))
        self._publisher = Publisher(self._broker_url, _connection_name("publish"), self._redeclare)
        # Of its own: whatever is wrong with the stream closes no channel that copies are published over.
        self._journal_publisher = Publisher(self._broker_url, _connection_name("journal-publish"))
        self._settings_rev = settings_revision(settings)
        self._recent, self._runs = RecentMails(), Runs()
        self._journal = self._make_journal()
        self._consumers = self._make_consumers()
        self._health = self._make_health()
        self._looks = 0

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT, then drains; a second signal forces the end.

        Raises BrokerRefusedError and TopologyDiffersError at start.
        """
        stop, force = _signals()
        serving = asyncio.create_task(self._serve_health())
        living = asyncio.create_task(self._live())
        await _either(stop.wait(), living)
        if living.done():
            await living
        draining = asyncio.create_task(self._drain())
        await _either(force.wait(), draining)
        for task in (draining, living, serving):
            task.cancel()
        await asyncio.wait({draining, living, serving}, timeout=CLOSE_SECONDS)
        await self._close()

    async def _live(self) -> None:
        self._say_start()
        await self._declare_first()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._journal.run_writing())
            tasks.create_task(self._journal.run_reading())
            await self._journal.read_up()
            tasks.create_task(self._consumers.run())
            tasks.create_task(self._tidy())
            tasks.create_task(
                guard(
                    self._outage,
                    pause=partial(self._consumers.pause, Pause.OUTAGE),
                    resume=partial(self._consumers.resume, Pause.OUTAGE),
                    probe=self._connector.probe,
                )
            )

    async def _declare_first(self) -> None:
        while True:
            connection = await connect_patiently(
                self._broker_url, _connection_name("start"), refusal_is_final=True
            )
            try:
                async with connection:
                    return await declare(connection, topology(self._settings.worker.prefix))
            except BROKER_ERRORS as error:
                log.warning("the broker went away", action=Action.BROKER_LOST, error=type(error).__name__)
            await asyncio.sleep(1.0)

    async def _drain(self) -> None:
        log.info("stopping: finishing what is in work", action=Action.DRAIN, **self._pool.stats())
        self._consumers.pause(Pause.DRAIN)
        self._pool.close_to_new_mail()
        seconds = max(self._settings.worker.drain_seconds - CLOSE_SECONDS, 0.0)
        cut_off = await self._consumers.drain(seconds)
        if cut_off:
            log.warning(
                "cut off at the deadline; the broker has them back", action=Action.DRAIN, events=cut_off
            )

    async def _close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
                await self._tokens.close()
                await self._publisher.close()
                await self._journal_publisher.close()
        log.info("stopped", action=Action.STOP)

    def _make_journal(self) -> Journal:
        return Journal(
            stream=journal_stream(self._settings.worker.prefix),
            publish=self._journal_publisher.publish,
            connect=self._connected_to_journal,
            recent=self._recent,
            runs=self._runs,
            # A container's host name and process id may be another's as well.
            worker=f"{_worker_name()}/{token_hex(4)}",
            settings_rev=self._settings_rev,
        )

    def _make_consumers(self) -> Consumers:
        own = self._settings.worker
        sessions = self._settings.max_sessions
        return Consumers(
            connect=self._connected_to_consume,
            prefix=own.prefix,
            prefetch={
                Lane.URGENT: sessions * URGENT_PREFETCH_PER_SESSION,
                Lane.STANDARD: sessions * STANDARD_PREFETCH_PER_SESSION,
            },
            process=self._make_pipeline().process,
            tend=self._tend,
        )

    def _make_health(self) -> Health:
        return Health(
            flow=lambda: self._consumers.flow,
            awaiting_broker=lambda: self._publisher.waiting > 0,
            sessions=lambda: {state: self._pool.stats()[state] for state in ("busy", "idle")},
            token_seconds=self._tokens.expires_in,
            breakers=lambda: self._outage.breakers,
        )

    async def _serve_health(self) -> None:
        if address := self._settings.worker.health_address:
            await Endpoint(*host_and_port(address), pages(self._health, self._scrape)).run()

    def _make_pipeline(self) -> Pipeline:
        own = self._settings.worker
        courier = Courier(
            plan=partial(plan, self._settings.smtp, entra_authority=own.entra_authority),
            pool=self._pool,
            recent=self._recent,
            outage=self._outage,
            logins=Logins(grace_seconds=own.auth_grace_seconds),
        )
        redact = Redactor(secrets(self._settings))
        settler = Settler(
            publish=self._publisher.publish,
            journal=self._journal,
            runs=self._runs,
            prefix=own.prefix,
            copies=Copies(redact, self._settings_rev, _worker_name()),
            give_up_seconds=own.retry_give_up_seconds,
            now=lambda: datetime.now(UTC),
        )
        return Pipeline(
            renderer(self._settings),
            courier.deliver,
            settler.settle,
            journal=self._journal,
            runs=self._runs,
            quarantine=Quarantine(self._paused_for_suspects, self._suspects_are_over),
            redact=redact,
            mails_at_once=self._settings.max_sessions * MAILS_PER_SESSION,
        )

    async def _open(self, connection: ConnectionPlan, token: Callable[[], Awaitable[Token]] | None) -> Session:
        return await open_session(
            connection,
            timeout=self._settings.worker.smtp_timeout_seconds,
            tls=self._tls,
            token=token,
            local_hostname=socket.gethostname(),
            diagnosis=self._diagnosis,
        )

    async def _paused_for_suspects(self) -> None:
        self._consumers.pause(Pause.SUSPECT)
        await self._consumers.paused()

    def _suspects_are_over(self) -> None:
        self._consumers.resume(Pause.SUSPECT)

    async def _connected_to_journal(self) -> AbstractConnection:
        return await self._connected("journal", self._declare_journal)

    async def _declare_journal(self, connection: AbstractConnection) -> None:
        try:
            await declare(connection, journal_topology(self._settings.worker.prefix))
        except (TopologyDiffersError, NotDeclaredError, BrokerRefusedError) as error:
            raise JournalMissingError(str(error)) from None

    async def _connected_to_consume(self) -> AbstractConnection:
        return await self._connected("consume", self._redeclare)

    async def _connected(
        self, purpose: str, prepare: Callable[[AbstractConnection], Awaitable[None]]
    ) -> AbstractConnection:
        connection = await connect_patiently(
            self._broker_url, _connection_name(purpose), refusal_is_final=False
        )
        return await made_ready(connection, prepare)

    async def _redeclare(self, connection: AbstractConnection) -> None:
        """What was deleted at the broker is there again; what differs by now is said, and work goes on."""
        differs = ""
        try:
            await declare(connection, topology(self._settings.worker.prefix))
        except (TopologyDiffersError, NotDeclaredError, BrokerRefusedError) as error:
            differs = str(error)
            if differs != self._health.topology:
                log.error("the topology is no longer the worker's", action=Action.WARN, error=differs)
        self._health.topology = differs

    async def _tend(self, connection: AbstractConnection) -> None:
        self._looks += 1
        if self._looks % LOOKS_PER_DECLARATION == 0:
            await self._redeclare(connection)
        names = [dead_queue(name, self._settings.worker.prefix) for name in (*DEAD_QUEUES, "unroutable")]
        found = await depths(connection, names)
        metrics.dead_depth.set({(name,): depth.messages for name, depth in found.items()})

    async def _tidy(self) -> None:
        while True:
            self._health.measure()
            await asyncio.sleep(TIDY_SECONDS)
            self._pool.close_worn_sessions()

    def _say_start(self) -> None:
        smtp = self._settings.smtp
        log.info(
            "starting",
            action=Action.START,
            version=__version__,
            host=smtp.EmailSMTPHost,
            port=smtp.EmailSmtpPort,
            settings_rev=self._settings_rev,
        )
        sender = default_sender(self._settings)
        for fault in faults(smtp, sender.address if sender else None):
            log.warning("these settings send no mail", action=Action.WARN, code=fault.reason, text=str(fault))
        for sentence in (*self._settings.warnings, *warnings(smtp)):
            log.warning(sentence, action=Action.WARN)


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


def _worker_name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{__version__}"


def _connection_name(purpose: str) -> str:
    return f"notify-worker/{socket.gethostname()}/{os.getpid()}/{purpose}"


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first and by the second SIGTERM or SIGINT."""
    first, second = asyncio.Event(), asyncio.Event()

    def received() -> None:
        (second if first.is_set() else first).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, received)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(received))
    return first, second


async def _either(waiting: Awaitable[object], work: asyncio.Task[None]) -> None:
    """Returns when one of them is done, and ends the waiting."""
    waiter = asyncio.ensure_future(waiting)
    await asyncio.wait({waiter, work}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
