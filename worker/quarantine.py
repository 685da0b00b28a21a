"""A delivery that may have ended its worker runs alone: nothing innocent is in work if it does it again.

The broker counts a hand-out against everything that is unacknowledged when a worker dies. Without quarantine
one event that kills its worker would take along, at the delivery limit, whatever was fetched with it each time.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import structlog

from contracts.signals import Action

ALONE_SECONDS: Final = 10.0
"""How long others wait for a suspect: one that has not ended its worker by then does no harm, it is slow."""

QUARANTINE_SECONDS: Final = 30.0
"""How long nothing new is taken because of suspects: no lane is blocked for longer."""

log = structlog.get_logger()


class Quarantine:
    """Lets suspects run one by one, while nothing else is in work.

    `pause` stops the taking of deliveries, and returns when all that were taken have arrived; `resume` goes on.
    """

    def __init__(self, pause: Callable[[], Awaitable[None]], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._in_work = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._serving: asyncio.Task[None] | None = None

    @contextmanager
    def present(self) -> Iterator[None]:
        """A delivery is in work while the block runs."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    async def alone(self) -> None:
        """To be called within `present`: returns when nothing else is in work, or a bounded time was waited."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._leave()
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        try:
            await turn
        finally:
            self._enter()

    def _enter(self) -> None:
        self._in_work += 1
        self._nobody.clear()

    def _leave(self) -> None:
        self._in_work -= 1
        if not self._in_work:
            self._nobody.set()

    async def _serve(self) -> None:
        """One after the other, in random order: the harmful one must not be first after every restart."""
        log.warning("suspects run alone; nothing new is taken meanwhile", action=Action.SUSPECT)
        end = asyncio.get_running_loop().time() + QUARANTINE_SECONDS
        try:
            await self._pause()
            while self._waiting:
                await self._others_end(end)
                turn = self._waiting.pop(random.randrange(len(self._waiting)))  # noqa: S311 - no secret
                if not turn.done():
                    turn.set_result(None)
                    await asyncio.sleep(0)  # it is in work from now on
                await self._others_end(end)
        finally:
            self._serving = None
            self._resume()

    async def _others_end(self, end: float) -> None:
        now = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(max(now, min(end, now + ALONE_SECONDS))):
                await self._nobody.wait()
