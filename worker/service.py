"""The composition root: settings -> parts, and their life cycle: start -> run -> drain -> close.

Only what one state of the settings decides is put together elsewhere: in `worker.revision`.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Final

import structlog
from aio_pika.abc import AbstractConnection

from contracts.signals import Action
from contracts.topology import DEAD_QUEUES, Lane, dead_queue, journal_stream, journal_topology, topology
from worker import __version__, metrics
from worker.adoption import Runs
from worker.broker import BROKER_ERRORS, BrokerRefusedError, Publisher, connect_patiently, depths, made_ready
from worker.consume import Consumers, Pause
from worker.declare import NotDeclaredError, TopologyDiffersError, declare
from worker.delivery import Delivery
from worker.endpoint import Endpoint
from worker.exporters import Scrape
from worker.health import Health, pages
from worker.journal import Journal, JournalMissingError
from worker.mending import Mending
from worker.quarantine import Quarantine
from worker.recent import RecentMails
from worker.redact import Redactor
from worker.reload import Reloader
from worker.revision import Groundwork, Lasting, secrets
from worker.settings import Settings, Source
from worker.succession import Succession
from worker.worker_settings import host_and_port

TIDY_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 2.0
STANDARD_PREFETCH_PER_SESSION: Final = 4
URGENT_PREFETCH_PER_SESSION: Final = 2  # so that one is waiting whenever a session comes free
LOOKS_PER_DECLARATION: Final = 3  # so every half a minute

log = structlog.get_logger()


async def run(settings: Settings, source: Source, scrape: Scrape | None = None) -> None:
    """The worker's whole life with `settings`, which `source` gave and may give anew.

    `scrape` reads its metrics. Raises TemplatesError, BrokerRefusedError and TopologyDiffersError at start.
    """
    await Service(settings, source, scrape).run()


class Service:
    """The worker: all parts, put together from `settings`; what `source` says later takes over."""

    def __init__(self, settings: Settings, source: Source, scrape: Scrape | None = None) -> None:
        self._scrape = scrape
        self._prefix = settings.worker.prefix
        self._broker_url = settings.worker.broker_url.get_secret_value()
        self._ground = Groundwork.of(settings)
        self._publisher = Publisher(self._broker_url, _connection_name("publish"), self._redeclare)
        # Of its own: whatever is wrong with the stream closes no channel that copies are published over.
        self._journal_publisher = Publisher(self._broker_url, _connection_name("journal-publish"))
        self._recent, self._runs = RecentMails(), Runs()
        self._journal = self._make_journal()
        self._consumers = self._make_consumers(settings)
        self._succession = self._make_succession(settings)
        self._mending = Mending(self._broker_url, self._prefix, lambda: self._succession.current)
        self._reloader = Reloader(source, settings, self._take_over)
        self._health = self._make_health()
        self._looks = 0

    async def run(self) -> None:
        """Works until SIGTERM or SIGINT, then drains; a second signal forces the end.

        Raises BrokerRefusedError and TopologyDiffersError at start.
        """
        stop, force = _signals()
        _on_hangup(self._reloader.ask)
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
            tasks.create_task(self._succession.guard())
            tasks.create_task(self._reloader.run())
            tasks.create_task(self._mending.run())

    async def _declare_first(self) -> None:
        while True:
            connection = await connect_patiently(
                self._broker_url, _connection_name("start"), refusal_is_final=True
            )
            try:
                async with connection:
                    return await declare(connection, topology(self._prefix))
            except BROKER_ERRORS as error:
                log.warning("the broker went away", action=Action.BROKER_LOST, error=type(error).__name__)
            await asyncio.sleep(1.0)

    async def _drain(self) -> None:
        in_force = self._succession.current
        log.info("stopping: finishing what is in work", action=Action.DRAIN, **in_force.pool.stats())
        self._consumers.pause(Pause.DRAIN)
        self._succession.close_to_new_mail()
        seconds = max(in_force.settings.worker.drain_seconds - CLOSE_SECONDS, 0.0)
        cut_off = await self._consumers.drain(seconds)
        if cut_off:
            log.warning(
                "cut off at the deadline; the broker has them back", action=Action.DRAIN, events=cut_off
            )

    async def _close(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._succession.close()
                await self._publisher.close()
                await self._journal_publisher.close()
        log.info("stopped", action=Action.STOP)

    def _make_journal(self) -> Journal:
        return Journal(
            stream=journal_stream(self._prefix),
            publish=self._journal_publisher.publish,
            connect=self._connected_to_journal,
            recent=self._recent,
            runs=self._runs,
            # A container's host name and process id may be another's as well.
            worker=f"{_worker_name()}/{token_hex(4)}",
            settings_rev=self._ground.rev,
        )

    def _make_consumers(self, settings: Settings) -> Consumers:
        return Consumers(
            connect=self._connected_to_consume,
            prefix=settings.worker.prefix,
            prefetch=_prefetch(settings),
            process=self._process,
            tend=self._tend,
        )

    async def _process(self, delivery: Delivery) -> None:
        await self._succession.process(delivery)

    def _make_succession(self, settings: Settings) -> Succession:
        lasting = Lasting(
            publish=self._publisher.publish,
            journal=self._journal,
            recent=self._recent,
            runs=self._runs,
            quarantine=Quarantine(self._paused_for_suspects, self._suspects_are_over),
            redact=Redactor(secrets(settings)),
            worker=_worker_name(),
        )
        return Succession(
            self._ground,
            lasting,
            pause=partial(self._consumers.pause, Pause.OUTAGE),
            resume=partial(self._consumers.resume, Pause.OUTAGE),
        )

    def _make_health(self) -> Health:
        return Health(
            flow=lambda: self._consumers.flow,
            awaiting_broker=lambda: self._publisher.waiting > 0,
            sessions=lambda: {
                state: self._succession.current.pool.stats()[state] for state in ("busy", "idle")
            },
            token_seconds=lambda: self._succession.current.token_seconds,
            breakers=lambda: self._succession.current.outage.breakers,
        )

    def _sessions(self) -> dict[str, int]:
        stats = self._succession.current.pool.stats()
        return {state: stats[state] for state in ("busy", "idle")}

    async def _serve_health(self) -> None:
        if address := self._ground.settings.worker.health_address:
            await Endpoint(*host_and_port(address), pages(self._health, self._scrape)).run()

    def _take_over(self, ground: Groundwork) -> bool:
        if not self._succession.replace(ground):
            return False
        self._consumers.change_prefetch(_prefetch(ground.settings))
        self._succession.current.say()
        self._mending.settings_changed()
        return True

    async def _paused_for_suspects(self) -> None:
        self._consumers.pause(Pause.SUSPECT)
        await self._consumers.paused()

    def _suspects_are_over(self) -> None:
        self._consumers.resume(Pause.SUSPECT)

    async def _connected_to_journal(self) -> AbstractConnection:
        return await self._connected("journal", self._declare_journal)

    async def _declare_journal(self, connection: AbstractConnection) -> None:
        try:
            await declare(connection, journal_topology(self._prefix))
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
            await declare(connection, topology(self._prefix))
        except (TopologyDiffersError, NotDeclaredError, BrokerRefusedError) as error:
            differs = str(error)
            if differs != self._health.topology:
                log.error("the topology is no longer the worker's", action=Action.WARN, error=differs)
        self._health.topology = differs

    async def _tend(self, connection: AbstractConnection) -> None:
        self._looks += 1
        if self._looks % LOOKS_PER_DECLARATION == 0:
            await self._redeclare(connection)
        names = [dead_queue(name, self._prefix) for name in (*DEAD_QUEUES, "unroutable")]
        found = await depths(connection, names)
        metrics.dead_depth.set({(name,): float(count) for name, count in found.items()})

    async def _tidy(self) -> None:
        while True:
            self._health.measure()
            await asyncio.sleep(TIDY_SECONDS)
            self._succession.current.pool.close_worn_sessions()

    def _say_start(self) -> None:
        smtp = self._ground.settings.smtp
        log.info(
            "starting",
            action=Action.START,
            version=__version__,
            host=smtp.EmailSMTPHost,
            port=smtp.EmailSmtpPort,
            settings_rev=self._ground.rev,
        )
        self._succession.current.say()


def _prefetch(settings: Settings) -> dict[Lane, int]:
    sessions = settings.max_sessions
    return {
        Lane.URGENT: sessions * URGENT_PREFETCH_PER_SESSION,
        Lane.STANDARD: sessions * STANDARD_PREFETCH_PER_SESSION,
    }


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


def _on_hangup(ask: Callable[[], None]) -> None:
    """What SIGHUP asks for; Windows has none."""
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, ask)


async def _either(waiting: Awaitable[object], work: asyncio.Task[None]) -> None:
    """Returns when one of them is done, and ends the waiting."""
    waiter = asyncio.ensure_future(waiting)
    await asyncio.wait({waiter, work}, return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
