"""The wheel alone: in an environment that has it and what it depends on, far from any checkout."""

import asyncio
import subprocess
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import pytest

from deploy import release
from deploy.licences import locked
from deploy.local.child import Child
from tests.support.amqp import until
from tests.support.smtp_server import SmtpServer
from tests.support.worker import environment
from worker import __version__

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("worker", "contracts")
EXAMPLE: Final = ROOT / "contracts" / "examples" / "system-schedule-missed.json"
READY_SECONDS: Final = 30.0
WHERE: Final = "import sys, worker; print(worker.__file__, *sys.path, sep='\\n')"


@dataclass(frozen=True, slots=True)
class Installed:
    """A wheel and the environment that it is installed in."""

    wheel: Path
    python: Path

    @property
    def program(self) -> str:
        """What the wheel is for."""
        return str(self.python.with_name("notify-worker"))

    async def done(self, folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """`notify-worker` with `arguments`, run in `folder`."""
        return await asyncio.to_thread(
            subprocess.run,
            [self.program, *arguments],
            cwd=folder,
            env=environment(settings),
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
        )

    @asynccontextmanager
    async def running(self, folder: Path, **settings: str) -> AsyncIterator[Child]:
        """A worker, once it consumes."""
        command = [self.program, "run"]
        with Child("worker", command, log=folder / "log", env=environment(settings), cwd=folder) as child:
            await until(lambda: '"action": "ready"' in child.output or not child.running, READY_SECONDS)
            child.require_running()
            yield child


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Only what the lock file names is beside the wheel, as links, since tests ask no registry."""
    folder = tmp_path_factory.mktemp("release")
    wheel = release.build(folder)
    python = release.environment(folder / "environment")
    release.install(wheel, python)
    link_locked(next((folder / "environment").glob("lib/*/site-packages")))
    return Installed(wheel, python)


def link_locked(site_packages: Path) -> None:
    """Links what the worker's lock file names and this environment has."""
    for name in locked():
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another system, or another Python
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            link = site_packages / top
            if not link.exists():  # several share a namespace
                link.symlink_to(Path(str(found.locate_file(top))))


def test_the_wheel_holds_every_file_of_its_packages(installed: Installed) -> None:
    """Templates, phrases, schemas and examples included; and nothing else but what tells of it."""
    held = {name for name in zipfile.ZipFile(installed.wheel).namelist() if ".dist-info/" not in name}
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()}
    assert held == {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def test_the_same_sources_make_the_same_packages(installed: Installed, tmp_path: Path) -> None:
    """Byte for byte, so that anybody can see that a package is of these sources."""
    again = release.build(tmp_path)
    files = (*installed.wheel.parent.glob("*.tar.gz"), installed.wheel)
    assert [digest(tmp_path / file.name) for file in files] == [digest(file) for file in files]
    assert again.name == installed.wheel.name == f"notify_worker-{__version__}-py3-none-any.whl"


def digest(file: Path) -> str:
    """What differs where a byte does."""
    return sha256(file.read_bytes()).hexdigest()


def test_nothing_of_the_checkout_is_on_the_path(installed: Installed, tmp_path: Path) -> None:
    """Else the following tests would show nothing."""
    said = subprocess.run(  # noqa: S603 - the environment's own Python
        [installed.python, "-c", WHERE], cwd=tmp_path, env={}, capture_output=True, text=True, check=True
    )
    home, *path = said.stdout.splitlines()
    assert Path(home).is_relative_to(installed.python.parents[1])
    assert ROOT not in map(Path, path)


async def test_it_says_its_version(installed: Installed, tmp_path: Path) -> None:
    """That of the sources."""
    assert (await installed.done(tmp_path, "--version")).stdout.strip() == __version__


async def test_it_checks_the_way_to_a_mail_server(installed: Installed, tmp_path: Path) -> None:
    """As far as a server on loopback goes; its name has no SPF record that can be asked for here."""
    async with SmtpServer() as smtp:
        settings = {"EmailSMTPHost": smtp.host, "EmailSmtpPort": str(smtp.port)}
        done = await installed.done(tmp_path, "check", "--resolver", "127.0.0.1:9", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no encryption, anonymous" in done.stdout


async def test_it_previews_every_mail(installed: Installed, tmp_path: Path) -> None:
    """Templates, languages and example events are within."""
    done = await installed.done(tmp_path, "preview", "--out", "mails")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mails" / "index.html").exists()


async def test_it_runs_and_sends_a_mail(
    installed: Installed, tmp_path: Path, broker_url: str, prefix: str
) -> None:
    """From an event published by the same program to the mail, and to the end in good order."""
    async with SmtpServer() as smtp:
        settings = {
            "NOTIFY_BROKER_URL": broker_url,
            "NOTIFY_PREFIX": prefix,
            "EmailSMTPHost": smtp.host,
            "EmailSmtpPort": str(smtp.port),
        }
        async with installed.running(tmp_path, **settings) as worker:
            done = await installed.done(tmp_path, "publish", "--fresh", str(EXAMPLE), **settings)
            assert done.returncode == 0, done.stderr
            await smtp.until_accepted(1)
            assert await asyncio.to_thread(worker.stop) == 0
