"""What `make setup` does on a machine that lacks things: what is installed, what is not, and what is said."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from deploy.local.child import Child
from tests.support.machine import NODE_PACKAGES, Machine

FORBIDDEN = ("rabbitmq-server.service", "epmd.socket", "postfix", "dovecot", "prometheus")
LEAVE_OUT = "set NOTIFY_TEST_WITHOUT_REAL_SERVERS=1 to leave out the tests that need it"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without RabbitMQ."""
    return Machine(tmp_path)


def test_rabbitmq_is_installed_but_not_started(machine: Machine) -> None:
    """No service of the package starts, then or at the next boot; other services may; no trace is left."""
    code, said = machine.setup("rabbitmq")
    assert (code, len(said)) == (0, 1), said
    assert machine.calls("policy") == [*(f"{service} 101" for service in FORBIDDEN), "cron 0"]
    assert machine.calls("systemctl") == ["--quiet disable rabbitmq-server.service epmd.service epmd.socket"]
    assert not machine.policy.exists()


def test_what_was_there_before_keeps_its_services(machine: Machine) -> None:
    """A machine with Erlang may rely on its names daemon."""
    machine.program("epmd", "")
    assert machine.setup("rabbitmq")[0] == 0
    assert machine.calls("systemctl") == ["--quiet disable rabbitmq-server.service"]


def test_a_policy_of_the_machine_is_left_alone(machine: Machine) -> None:
    """Whoever wrote one has decided already."""
    machine.has("policy-rc.d", f"#!{shutil.which('sh')}\nexit 104\n")
    machine.policy.chmod(0o755)
    assert machine.setup("rabbitmq")[0] == 0
    assert machine.calls("policy")[0] == "rabbitmq-server.service 104"
    assert machine.policy.exists()


def test_package_lists_are_refreshed_when_they_are_needed(machine: Machine) -> None:
    """A fresh machine has none."""
    machine.has("stale")
    code, said = machine.setup("rabbitmq")
    assert code == 0
    assert said[1:] == ["Refreshing the package lists"]
    assert [call.split()[3] for call in machine.calls("apt-get")] == ["install", "update", "install"]


def test_without_a_package_it_says_what_to_do(machine: Machine) -> None:
    """Exit code 2, apt's complaint, and one line at the end."""
    machine.has("broken")
    code, said = machine.setup("rabbitmq")
    assert code == 2
    assert "E: Unable to locate package" in said
    assert said[-1] == (
        "RabbitMQ is missing: install it (apt-get install rabbitmq-server), or set RABBITMQ_HOME."
    )
    assert not machine.policy.exists()


def test_on_another_distribution_that_line_is_all(machine: Machine) -> None:
    """Nothing is tried where there is no apt-get."""
    machine.removes("apt-get")
    code, said = machine.setup("rabbitmq")
    assert (code, len(said)) == (2, 1), said


def test_an_interrupted_installation_leaves_no_policy(machine: Machine) -> None:
    """The machine's services must not stay forbidden because somebody pressed Ctrl-C."""
    machine.has("slow")
    log = machine.folder / "log"
    with Child("setup", machine.command("rabbitmq"), log=log, env=machine.environment()) as script:
        script.wait_until((machine.folder / "busy").exists, 20)
        assert machine.policy.exists()
        os.killpg(script.pid, signal.SIGTERM)  # as a terminal does: to the script and to apt-get
        script.stop()
    assert not machine.policy.exists()


def test_nothing_is_done_where_rabbitmq_is_there(machine: Machine) -> None:
    """The second run is silent."""
    machine.has("rabbitmq-server")
    machine.server.chmod(0o755)
    assert machine.setup("rabbitmq") == (0, [])
    assert machine.calls("apt-get") == []


def test_another_server_can_be_named(machine: Machine) -> None:
    """RABBITMQ_HOME is the folder that holds sbin/rabbitmq-server; a wrong one is told, not replaced."""
    assert machine.setup("rabbitmq", RABBITMQ_HOME=str(machine.folder)) == (
        2,
        ["RABBITMQ_HOME holds no sbin/rabbitmq-server."],
    )
    (machine.folder / "sbin").mkdir()
    machine.has("sbin/rabbitmq-server")
    (machine.folder / "sbin" / "rabbitmq-server").chmod(0o755)
    assert machine.setup("rabbitmq", RABBITMQ_HOME=str(machine.folder)) == (0, [])
    assert machine.calls("apt-get") == []


def test_the_environment_is_made_from_the_lock_once(machine: Machine) -> None:
    """Hashes are required, the project itself is built from what is there, and the second run does nothing."""
    assert machine.setup("venv") == (0, ["Making .venv from requirements-dev.lock (once; a minute or so)"])
    made = machine.calls("python")
    assert [call.split(" install ")[-1] for call in made] == [
        "-m venv .venv",
        "--quiet --require-hashes -r requirements-dev.lock",
        "--quiet --no-deps --no-build-isolation -e .",
    ]
    assert machine.setup("venv") == (0, [])
    assert machine.calls("python") == made


@pytest.mark.parametrize(
    ("changed", "content", "command"),
    [
        pytest.param("checkout/requirements-dev.lock", "new", "-m venv .venv", id="the lock: on top"),
        pytest.param("python", "another Python", "-m venv --clear .venv", id="the Python: from nothing"),
    ],
)
def test_the_environment_follows_what_it_was_made_from(
    machine: Machine, changed: str, content: str, command: str
) -> None:
    """A new lock is installed over the old; another Python needs a new environment."""
    machine.setup("venv")
    before = len(machine.calls("python"))
    machine.has(changed, content)
    assert machine.setup("venv")[0] == 0
    assert machine.calls("python")[before] == command


def test_an_environment_behind_a_link_is_left_alone(machine: Machine) -> None:
    """It is somebody else's, and making it anew would empty it under them."""
    shared = machine.folder / "shared"
    shared.mkdir()
    (shared / ".made-from").write_text("another checkout")
    (machine.folder / "checkout" / ".venv").symlink_to(shared)
    code, said = machine.setup("venv")
    assert (code, len(said)) == (2, 1), said
    assert said[0].startswith(".venv is a link")
    assert machine.calls("python") == []


def test_a_failed_installation_is_tried_again(machine: Machine) -> None:
    """Half an environment is not taken for a whole one."""
    machine.has("offline")
    assert machine.setup("venv")[0] != 0
    (machine.folder / "offline").unlink()
    before = len(machine.calls("python"))
    assert machine.setup("venv")[0] == 0
    assert len(machine.calls("python")) > before


def test_debians_venv_package_is_installed_when_it_is_missing(machine: Machine) -> None:
    """Debian and Ubuntu split it from python3."""
    (machine.folder / "ensurepip").unlink()
    assert machine.setup("venv")[0] == 0
    assert machine.calls("apt-get")[0].endswith(" --no-install-recommends python3-venv")


def test_a_python_that_is_too_old_is_told(machine: Machine) -> None:
    """One line, before anything is made."""
    machine.has("old")
    assert machine.setup("venv") == (2, ["Python 3.11 or newer is needed, and this is Python 3.9.2."])


def test_a_missing_python_is_told(machine: Machine) -> None:
    """One line instead of the shell's complaint."""
    machine.removes("python3")
    assert machine.setup("venv") == (2, ["python3 is missing: install Python 3.11 or newer."])


@pytest.fixture
def tester(machine: Machine) -> Machine:
    """A machine with an environment, whose root wants to run the tests."""
    assert machine.setup("venv")[0] == 0
    return machine


def test_the_tests_servers_are_installed_but_not_started(tester: Machine) -> None:
    """Postfix is no mail server of the machine, Dovecot none either; what the machine has is not removed."""
    code, said = tester.setup("servers")
    assert (code, len(said)) == (0, 4), said
    installed = [call.partition(" install ")[2] for call in tester.calls("apt-get")]
    assert installed == [
        f"-y --no-remove --no-install-recommends {name}" for name in ("postfix", "dovecot-core", "prometheus")
    ]
    assert tester.calls("debconf-set-selections") == [
        "postfix postfix/main_mailer_type select No configuration"
    ]
    assert {f"{service} 101" for service in FORBIDDEN} <= set(tester.calls("policy"))
    assert tester.calls("systemctl") == [
        "--quiet disable postfix.service",
        "--quiet disable dovecot.service dovecot.socket",
        "--quiet disable prometheus.service",
    ]
    assert not tester.policy.exists()


def test_npms_packages_are_installed_from_locks_once(tester: Machine) -> None:
    """With hashes, without running anybody's install scripts; the second run is silent."""
    assert tester.setup("servers")[0] == 0
    assert tester.calls("python")[-1].endswith("--require-hashes -r requirements-servers.lock")
    for folder, call in zip(NODE_PACKAGES, tester.calls("node"), strict=True):
        assert f" ci --prefix {folder} --ignore-scripts " in call
    before = len(tester.calls("node"))
    assert tester.setup("servers") == (0, [])
    assert len(tester.calls("node")) == before


@pytest.mark.parametrize("folder", NODE_PACKAGES)
def test_a_new_lock_is_installed(tester: Machine, folder: str) -> None:
    """What is there was made from the old one."""
    tester.setup("servers")
    tester.has(f"checkout/{folder}/package-lock.json", "new")
    code, said = tester.setup("servers")
    assert (code, len(said)) == (0, 1)
    assert said[0].startswith("Installing Node.js and npm's packages")


def test_packages_that_are_gone_are_installed_again(tester: Machine) -> None:
    """As after a `git clean`."""
    tester.setup("servers")
    shutil.rmtree(tester.folder / "checkout" / NODE_PACKAGES[0] / "node_modules")
    assert len(tester.setup("servers")[1]) == 1


@pytest.mark.parametrize(
    ("lacks", "line"),
    [
        pytest.param("user", f"Only root can start Postfix: run this as root, or {LEAVE_OUT}.", id="root"),
        pytest.param("broken", f"Postfix is missing: install it, or {LEAVE_OUT}.", id="packages"),
        pytest.param(
            "offline",
            f"Node.js or packages of npm could not be installed: mend that, or {LEAVE_OUT}.",
            id="net",
        ),
    ],
)
def test_what_the_tests_lack_fails_and_says_how_to_leave_them_out(
    tester: Machine, lacks: str, line: str
) -> None:
    """Tests that cannot run must not look as if they had passed."""
    tester.has(lacks)
    code, said = tester.setup("servers")
    assert (code, said[-1]) == (2, line)


def test_the_tests_servers_can_be_left_out(machine: Machine) -> None:
    """By somebody without root; that is said, and nothing is installed."""
    machine.has("user")
    code, said = machine.setup("servers", NOTIFY_TEST_WITHOUT_REAL_SERVERS="1")
    assert code == 0
    assert said == ["The tests against real servers are left out: NOTIFY_TEST_WITHOUT_REAL_SERVERS is set."]
    assert machine.calls("apt-get") == []


WITHOUT_BROWSER = "set NOTIFY_TEST_WITHOUT_BROWSER=1 to leave out the tests that need it"


def test_the_browser_is_installed_once(tester: Machine) -> None:
    """With fonts for what mails say, and what drives it from its lock; no root is asked for."""
    tester.has("user")
    code, said = tester.setup("browser")
    assert (code, len(said)) == (0, 4), said
    installed = [call.rpartition(" ")[2] for call in tester.calls("apt-get")]
    assert installed == ["chromium", "fonts-liberation", "fonts-dejavu-core"]
    assert " ci --prefix deploy/gallery --ignore-scripts " in tester.calls("node")[-1]
    assert tester.setup("browser") == (0, [])


def test_another_browser_can_be_named(tester: Machine) -> None:
    """CHROMIUM is its program."""
    assert tester.setup("browser", CHROMIUM="/opt/chrome")[0] == 0
    assert tester.calls("apt-get") == []


@pytest.mark.parametrize(
    ("lacks", "line"),
    [
        pytest.param(
            "broken",
            f"Chromium is missing: install it, set CHROMIUM to its program, or {WITHOUT_BROWSER}.",
            id="packages",
        ),
        pytest.param(
            "offline",
            f"What drives Chromium could not be installed: mend that, or {WITHOUT_BROWSER}.",
            id="net",
        ),
    ],
)
def test_a_browser_that_cannot_be_had_is_said(tester: Machine, lacks: str, line: str) -> None:
    """Mails that nobody looked at must not look as if they were sound."""
    tester.has(lacks)
    code, said = tester.setup("browser")
    assert (code, said[-1]) == (2, line)


def test_the_browser_can_be_left_out(machine: Machine) -> None:
    """That is said, and nothing is installed."""
    code, said = machine.setup("browser", NOTIFY_TEST_WITHOUT_BROWSER="1")
    assert (code, said) == (0, ["Looking at the mails is left out: NOTIFY_TEST_WITHOUT_BROWSER is set."])
    assert machine.calls("apt-get") == []
