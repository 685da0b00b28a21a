"""Settings that are read anew: when, and what of them comes into force."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import structlog

from tests.support.amqp import until
from worker import reload
from worker.reload import Reloader, Watch
from worker.revision import Groundwork
from worker.settings import Source

SECONDS = 5.0


def looks(watch: Watch, times: int) -> list[bool]:
    """What so many looks see."""
    return [watch.sees_change() for _ in range(times)]


def test_a_change_counts_when_two_looks_in_a_row_show_the_same(tmp_path: Path) -> None:
    """A file that is just being written is not read half; what it held before the first look nobody knows."""
    file = tmp_path / "settings.txt"
    file.write_text("one")
    watch = Watch(file)
    assert looks(watch, 3) == [False, True, False]
    file.write_text("tw")
    assert looks(watch, 1) == [False]
    file.write_text("two")
    assert looks(watch, 3) == [False, True, False]


def test_a_file_that_is_touched_or_replaced_by_the_same_has_not_changed(tmp_path: Path) -> None:
    """It is the content that counts."""
    file = tmp_path / "settings.txt"
    file.write_text("one")
    watch = Watch(file)
    looks(watch, 2)
    (tmp_path / "other").write_text("one")
    (tmp_path / "other").rename(file)
    assert looks(watch, 3) == [False, False, False]


def test_a_file_that_is_gone_for_a_moment_has_not_changed(tmp_path: Path) -> None:
    """Between an editor's deletion and its new file there may be a look; only one that stays away counts."""
    file = tmp_path / "settings.txt"
    file.write_text("one")
    watch = Watch(file)
    looks(watch, 2)
    file.unlink()
    assert looks(watch, 1) == [False]
    file.write_text("one")
    assert looks(watch, 2) == [False, False]
    file.unlink()
    assert looks(watch, 3) == [False, True, False]


class Worker:
    """What a reloader reloads: a file, and what was taken over of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "settings.txt"
        self.file.write_text("")
        source = Source({}, self.file)
        self.taken: asyncio.Queue[Groundwork] = asyncio.Queue()
        self.reloader = Reloader(source, source.load(), self._take_over)

    def _take_over(self, ground: Groundwork) -> bool:
        self.taken.put_nowait(ground)
        return True

    async def asked(self, text: str) -> Groundwork:
        """What is taken over when the file holds `text`, and the signal comes."""
        self.file.write_text(text)
        self.reloader.ask()
        async with asyncio.timeout(SECONDS):
            return await self.taken.get()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The reloader runs in the block."""
        task = asyncio.create_task(self.reloader.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_what_says_where_it_works_stays_as_it_was_at_the_start(tmp_path: Path) -> None:
    """Such settings are named once, and the others are taken."""
    worker = Worker(tmp_path)
    with structlog.testing.capture_logs() as logs:
        async with worker.running():
            ground = await worker.asked("NOTIFY_PREFIX = another\nEmailSmtpPort = 26")
            again = await worker.asked("NOTIFY_PREFIX = another\nEmailSmtpPort = 27")
    assert [it.settings.worker.prefix for it in (ground, again)] == ["notify", "notify"]
    assert [it.settings.smtp.EmailSmtpPort for it in (ground, again)] == [26, 27]
    assert ground.rev != again.rev
    said = [line["event"] for line in logs if line["action"] == "warn"]
    assert said == ["NOTIFY_PREFIX: takes effect at the next start"]


async def test_nothing_is_built_anew_for_a_comment_unless_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail goes on undisturbed where the file says the same in other words."""
    monkeypatch.setattr(reload, "LOOK_SECONDS", 0.01)
    worker = Worker(tmp_path)
    async with worker.running():
        worker.file.write_text("# nothing\nEmailSmtpPort = 25")
        await asyncio.sleep(0.3)
        assert worker.taken.empty()
        worker.file.write_text("EmailSmtpPort = 26")
        async with asyncio.timeout(SECONDS):
            assert (await worker.taken.get()).settings.smtp.EmailSmtpPort == 26
        await worker.asked("EmailSmtpPort = 26")
        assert worker.taken.empty()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("EmailSmtpPort = none", "EmailSmtpPort"),
        ("NOTIFY_TEMPLATES_DIR = {folder}/templates", "system/message/subject.txt"),
        ("NOTIFY_SMTP_CA_FILE = {folder}/missing.pem", "NOTIFY_SMTP_CA_FILE"),
    ],
    ids=["a value", "a template", "certificates"],
)
async def test_what_has_faults_is_kept_out_and_they_are_listed(tmp_path: Path, text: str, fault: str) -> None:
    """Nothing of it comes into force; the next good settings are taken."""
    worker = Worker(tmp_path)
    template = tmp_path / "templates" / "system" / "message" / "subject.txt"
    template.parent.mkdir(parents=True)
    template.write_text("{{ broken")
    with structlog.testing.capture_logs() as logs:
        async with worker.running():
            worker.file.write_text(text.format(folder=tmp_path))
            worker.reloader.ask()
            await until(lambda: any("faults" in line for line in logs))
            ground = await worker.asked("EmailSmtpPort = 26")
    assert worker.taken.empty()
    assert ground.settings.smtp.EmailSmtpPort == 26
    (said,) = [one for line in logs for one in line.get("faults", ())]
    assert said.startswith(fault)
