"""Which RabbitMQ is run, and that one in a root folder of its own is a process like any other."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.rabbitmq import PrivateRabbitMQ
from deploy.local.rabbitmq_programs import Programs, RabbitMQMissingError, programs
from tests.support.processes import gone, living, nobody_works_in

ROOT = Path(__file__).parents[3]
OWNER = """
import sys, time
from pathlib import Path
from deploy.local.rabbitmq import PrivateRabbitMQ
node = PrivateRabbitMQ(Path(sys.argv[1]))
node.start()
print(node.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment, naming no server."""
    monkeypatch.delenv("RABBITMQ_HOME", raising=False)
    monkeypatch.delenv("RABBITMQ_ROOT", raising=False)
    return monkeypatch


def put_server(folder: Path) -> None:
    """A file that passes for RabbitMQ's."""
    folder.mkdir(parents=True)
    (folder / "rabbitmq-server").touch()


def test_another_server_can_be_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """RABBITMQ_HOME is the folder that holds sbin; its programs are run as they are."""
    environment.setenv("RABBITMQ_HOME", str(tmp_path))
    put_server(tmp_path / "sbin")
    assert programs() == Programs(tmp_path / "sbin")
    command = programs().command("rabbitmqctl", "status", folder=tmp_path)
    assert command == (f"{tmp_path}/sbin/rabbitmqctl", "status")


@pytest.mark.parametrize(
    ("home", "folder"), [(None, "usr/lib/rabbitmq/bin"), ("/opt/server", "opt/server/sbin")]
)
def test_a_root_folder_can_be_named(
    environment: pytest.MonkeyPatch, tmp_path: Path, home: str | None, folder: str
) -> None:
    """Where RABBITMQ_ROOT is set, the server is looked for in there."""
    environment.setenv("RABBITMQ_ROOT", str(tmp_path))
    if home:
        environment.setenv("RABBITMQ_HOME", home)
    put_server(tmp_path / folder)
    assert programs() == Programs(Path("/", folder), tmp_path)


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ("RABBITMQ_HOME", "run `make setup`, or set RABBITMQ_HOME to a server's folder"),
        ("RABBITMQ_ROOT", "run `make test-rabbitmq4`, or unset RABBITMQ_ROOT"),
    ],
)
def test_a_missing_server_is_named_with_what_to_do(
    environment: pytest.MonkeyPatch, tmp_path: Path, setting: str, advice: str
) -> None:
    """One line: where it was looked for, and the command that installs it."""
    environment.setenv(setting, str(tmp_path))
    with pytest.raises(RabbitMQMissingError, match=f"^RabbitMQ was not found in {tmp_path}/.*: {advice}$"):
        PrivateRabbitMQ(tmp_path)


@pytest.fixture
def root() -> Path:
    """The root folder that this run uses; without one these tests have nothing to look at."""
    root = os.environ.get("RABBITMQ_ROOT")
    if root is None:
        pytest.skip("LEFT OUT because RABBITMQ_ROOT is not set: `make test-rabbitmq4` runs these")
    return Path(root)


def mounts(process: int | str) -> set[Path]:
    """What is mounted where, as that process sees it."""
    return {Path(line.split()[4]) for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines()}


def test_what_the_node_sees_mounted_nobody_else_does(root: Path, broker_node: PrivateRabbitMQ) -> None:
    """So there is nothing to unmount afterwards, whoever was killed."""
    assert mounts(broker_node.pid) == {Path("/proc"), Path("/dev"), broker_node.log.parent}
    assert not [mount for mount in mounts("self") if mount.is_relative_to(root)]


def test_its_process_is_the_node_itself(root: Path, broker_node: PrivateRabbitMQ) -> None:
    """No shell or namespace stands between us and Erlang, so a signal reaches it."""
    assert Path(f"/proc/{broker_node.pid}/comm").read_text() == "beam.smp\n"
    assert Path(f"/proc/{broker_node.pid}/root").resolve() == root


def test_a_crash_ends_the_node_at_once(root: Path, tmp_path: Path) -> None:
    """When `kill` returns it is gone, and only its names daemon stays for the restart."""
    with PrivateRabbitMQ(tmp_path / "node") as node:
        node.kill()
        assert not living(lambda process: process.pid == node.pid)
    assert nobody_works_in(tmp_path)


@pytest.fixture
def owner(root: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another Python that has a node."""
    command = [sys.executable, "-c", OWNER, str(tmp_path / "node")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        yield process
        process.kill()


def test_nothing_outlives_an_owner_that_is_killed(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    """Neither node nor names daemon, and with them no mount."""
    assert owner.stdout
    node = int(owner.stdout.readline())
    owner.send_signal(signal.SIGKILL)
    assert gone(lambda process: process.pid == node)
    assert nobody_works_in(tmp_path)
