"""Settings that change while the worker runs: when they are read again, and what of them comes into force.

A signal asks for it, or the settings file has another content. Since the content is compared, the file may be
written to, replaced, or a link that leads elsewhere by now, as in Kubernetes. What cannot be read, or has
faults, is kept out as a whole.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from contracts.signals import Action
from worker.errors import kind_and_place
from worker.revision import Groundwork
from worker.settings import FIXED, Settings, SettingsError, Source, as_started, changed_names
from worker.template_files import TemplatesError

LOOK_SECONDS: Final = 1.0
"""Between two looks at the file; its change counts at the second one that finds it so, within 5 seconds."""

log = structlog.get_logger()


class Watch:
    """Whether a file has another content than it had, or cannot be read any more.

    One that is just being written is not read half: a change counts when two looks in a row show the same.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = self._latest = b""

    def sees_change(self) -> bool:
        """Looks; the first content is a change as well, since nobody knows what it was before."""
        settled = (now := self._content()) == self._latest
        self._latest = now
        if not settled or now == self._known:
            return False
        self._known = now
        return True

    def _content(self) -> bytes:
        try:
            return hashlib.blake2b(self._file.read_bytes()).digest()
        except (OSError, ValueError) as error:
            return kind_and_place(error).encode()


class Reloader:
    """Reads the settings of `source` again; `take_over` puts them in force, and says whether it did.

    `started` are those that the worker was started with.
    """

    def __init__(self, source: Source, started: Settings, take_over: Callable[[Groundwork], bool]) -> None:
        self._source = source
        self._started = self._latest = started
        self._take_over = take_over
        self._watch = Watch(source.file) if source.file else None
        self._asked = asyncio.Event()
        self._faults: tuple[str, ...] = ()

    def ask(self) -> None:
        """Reads them soon, and builds everything of them anew, even where they are the same."""
        self._asked.set()

    async def run(self) -> None:
        """Reads them whenever it is time. Runs until cancelled."""
        while True:
            asked = await self._next()
            try:
                await self._reload(asked=asked)
            except Exception as bug:  # noqa: BLE001 - the old settings are good: a bug here must not end the worker
                log.error("reading the settings anew failed", action=Action.RELOAD, error=kind_and_place(bug))

    async def _next(self) -> bool:
        """Returns when it is time: True if it was asked for, False if the file has changed."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._asked.wait()
            if self._asked.is_set():
                self._asked.clear()
                return True
            if self._watch is not None and await asyncio.to_thread(self._watch.sees_change):
                return False

    async def _reload(self, *, asked: bool) -> None:
        try:
            loaded = await asyncio.to_thread(self._source.load)
            changed = changed_names(self._latest, loaded)
            is_due = asked or not set(changed) <= set(FIXED)
            ground = await asyncio.to_thread(self._groundwork, loaded) if is_due else None
        except SettingsError as error:
            self._keep_out(error.faults, asked=asked)
        except TemplatesError as error:
            self._keep_out(tuple(map(str, error.faults)), asked=asked)
        except OSError as error:
            self._keep_out((f"{error.filename}: {error.strerror}",), asked=asked)
        else:
            self._latest, self._faults = loaded, ()
            if ground and self._take_over(ground):
                _say(ground, changed)
            self._warn_of_fixed(changed)

    def _groundwork(self, loaded: Settings) -> Groundwork:
        return Groundwork.of(as_started(loaded, self._started))

    def _keep_out(self, faults: tuple[str, ...], *, asked: bool) -> None:
        if asked or faults != self._faults:
            log.error(
                "the settings have faults and are kept out; those before stay in force",
                action=Action.RELOAD,
                faults=faults,
            )
        self._faults = faults

    def _warn_of_fixed(self, changed: list[str]) -> None:
        differing = changed_names(self._started, self._latest)
        if late := [name for name in FIXED if name in changed and name in differing]:
            sentence = f"{', '.join(late)}: takes effect at the next start"
            log.warning(sentence, action=Action.WARN)


def _say(ground: Groundwork, changed: list[str]) -> None:
    smtp = ground.settings.smtp
    log.info(
        "other settings are in force" if changed else "the settings are the same; everything was built anew",
        action=Action.RELOAD,
        settings=changed,
        settings_rev=ground.rev,
        host=smtp.EmailSMTPHost,
        port=smtp.EmailSmtpPort,
    )
