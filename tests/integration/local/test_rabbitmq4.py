"""What `make test-rabbitmq4` makes first, on a made-up machine: a whole root folder, or none."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from deploy.local.child import Child
from tests.support.machine import ROOT, Machine

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
MADE = "Making .cache/rabbitmq4 from Debian's packages (once; a minute or so)"
FAILED = (
    ".cache/rabbitmq4 could not be made (all of it: .cache/rabbitmq4.log). "
    "If apt's mirror has no trixie, set DEBIAN_MIRROR."
)
UNSHARE = 'while [ "$1" != debootstrap ]; do shift; done; exec "$@"'
# Its last two arguments are the folder and the mirror. Half of it is made where it is `broken` or `slow`.
DEBOOTSTRAP = """
echo "$@" >>{calls}/debootstrap
while [ $# -gt 2 ]; do shift; done
mkdir -p "$1/usr/lib/rabbitmq/bin"
touch "$1/usr/lib/rabbitmq/bin/rabbitmq-server"
chmod 755 "$1/usr/lib/rabbitmq/bin/rabbitmq-server"
if [ -e {machine}/slow ]; then touch {machine}/busy; sleep 600; fi
if [ -e {machine}/broken ]; then echo "E: Failed getting release file"; exit 1; fi
touch "$1/whole"
"""
APT_GET = """
case "$*" in *indextargets*) cat {machine}/mirrors; exit ;; esac
echo "$@" >>{calls}/apt-get
[ ! -e {machine}/offline ] || exit 100
cp {machine}/debootstrap {bin}/debootstrap
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose root may make the folder, with everything there."""
    machine = Machine(tmp_path)
    machine.program("unshare", UNSHARE)
    machine.program("debootstrap", DEBOOTSTRAP)
    machine.program("apt-get", APT_GET)
    for tool in ("flock", "mv", "sed", "tail"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is missing"))
    machine.has("mirrors", "http://mirror.example/debian/\nhttp://mirror.example/other/\n")
    machine.has("keys")
    script = (ROOT / "deploy" / "local" / "rabbitmq4.sh").read_text()
    machine.has("checkout/deploy/local/rabbitmq4.sh", script.replace(KEYS, f"{tmp_path}/keys"))
    return machine


def command(machine: Machine) -> tuple[str, ...]:
    """The command line of the script."""
    return ("/bin/sh", str(machine.folder / "checkout" / "deploy" / "local" / "rabbitmq4.sh"))


def make(machine: Machine, **environment: str) -> tuple[int, list[str]]:
    """Run the script; its exit code and what it said."""
    done = subprocess.run(  # noqa: S603 - the project's script
        command(machine), env=machine.environment() | environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.splitlines()


def is_whole(machine: Machine) -> bool:
    """Whether the folder is there, and all of it."""
    return (machine.folder / "checkout" / ".cache" / "rabbitmq4" / "whole").exists()


def test_the_folder_is_made_once(machine: Machine) -> None:
    """From the mirror of this machine's apt, signatures checked; the second run is silent."""
    assert make(machine) == (0, [MADE])
    assert is_whole(machine)
    (call,) = machine.calls("debootstrap")
    assert call.startswith(f"--force-check-gpg --keyring={machine.folder}/keys --variant=minbase ")
    assert call.endswith(" trixie .cache/rabbitmq4.making http://mirror.example/debian/")
    assert make(machine) == (0, [])
    assert len(machine.calls("debootstrap")) == 1


def test_a_folder_that_could_not_be_made_is_not_there(machine: Machine) -> None:
    """Exit code 2, debootstrap's complaint and one line more; the next run makes it."""
    machine.has("broken")
    assert make(machine) == (
        2,
        [
            MADE,
            "E: Failed getting release file",
            FAILED,
        ],
    )
    assert not (machine.folder / "checkout" / ".cache" / "rabbitmq4").exists()
    (machine.folder / "broken").unlink()
    assert make(machine) == (0, [MADE])
    assert is_whole(machine)


def test_half_a_folder_is_not_taken_for_a_whole_one(machine: Machine) -> None:
    """Not even by the run after one that was killed."""
    machine.has("slow")
    log = machine.folder / "log"
    with Child("make", command(machine), log=log, env=machine.environment()) as script:
        script.wait_until((machine.folder / "busy").exists, 20)
        os.killpg(script.pid, signal.SIGKILL)
    (machine.folder / "slow").unlink()
    assert make(machine) == (0, [MADE])
    assert is_whole(machine)


def test_debootstrap_is_installed_when_it_is_missing(machine: Machine) -> None:
    """From the distribution's packages."""
    (machine.folder / "bin" / "debootstrap").rename(machine.folder / "debootstrap")
    assert make(machine)[0] == 0
    assert machine.calls("apt-get")[0].endswith(" --no-install-recommends debootstrap")
    assert is_whole(machine)


@pytest.mark.parametrize(
    ("file", "program", "line"),
    [
        pytest.param(
            "user",
            None,
            "Only root can make a root folder and start RabbitMQ in it: run this as root.",
            id="root",
        ),
        pytest.param("", "unshare", "unshare is missing: install util-linux.", id="unshare"),
        pytest.param(
            "offline",
            "debootstrap",
            "debootstrap is missing: install it (apt-get install debootstrap).",
            id="debootstrap",
        ),
    ],
)
def test_what_is_lacking_is_named(machine: Machine, file: str, program: str | None, line: str) -> None:
    """Exit code 2, and the last line says what to do."""
    if file:
        machine.has(file)
    if program:
        machine.removes(program)
    code, said = make(machine)
    assert (code, said[-1]) == (2, line)


@pytest.mark.parametrize(
    ("mirrors", "environment", "used"),
    [
        pytest.param("", {"DEBIAN_MIRROR": "http://a.example/debian"}, "http://a.example/debian", id="named"),
        pytest.param("mirror+file:{folder}/list\n", {}, "http://b.example/debian", id="a file of mirrors"),
    ],
)
def test_the_mirror_may_be_named_elsewhere(
    machine: Machine, mirrors: str, environment: dict[str, str], used: str
) -> None:
    """In the environment, or in the file that Debian's cloud images have."""
    machine.has("mirrors", mirrors.format(folder=machine.folder))
    machine.has("list", "# ours\nhttp://b.example/debian\tpriority:1\nhttp://c.example/debian\n")
    assert make(machine, **environment)[0] == 0
    assert machine.calls("debootstrap")[0].endswith(f" {used}")


def test_a_machine_without_a_mirror_is_told(machine: Machine) -> None:
    """Before anything is made."""
    machine.has("mirrors")
    code, said = make(machine)
    assert (code, len(said)) == (2, 1), said
    assert "set DEBIAN_MIRROR" in said[0]
