"""`make demo` and `make up` for real: own broker, inbox and workers as processes, and what is said of them."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from contracts import error_texts
from deploy.local.inbox import read_index
from tests.support.processes import descendants, gone

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "deploy.local.demo")
LONGEST_SECONDS = 150
STARTED = 4  # a node and its names daemon, each with a guard

Demo = subprocess.Popen[str]


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """What a running demo has said so far."""
    return tmp_path / "talk"


@pytest.fixture
def demo(talk: Path) -> Iterator[Demo]:
    """The demo as `make up` starts it."""
    with talk.open("w") as output:
        process = subprocess.Popen([*DEMO, "--stay"], cwd=ROOT, stdout=output, stderr=output, text=True)  # noqa: S603 - ours
    yield process
    process.kill()
    process.wait()


def test_the_demo_ends_with_exactly_the_expected_outcomes() -> None:
    """Exit code 0; nine mails, each in a file that a mail program reads, and three documented dead letters."""
    done = subprocess.run(  # noqa: S603 - ours
        [*DEMO, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["as_expected"]
    assert result["differences"] == []
    assert len(result["mails"]) == 9
    assert all(reads_as_told(mail) for mail in result["mails"])
    assert sorted((dead["class"], dead["code"]) for dead in result["dead"]) == [
        ("config", "oauth2-requires-tls"),
        ("expired", "expired"),
        ("poison", "invalid-data"),
    ]
    assert error_texts.OAUTH2_REQUIRES_TLS in [dead["text"] for dead in result["dead"]]


def test_up_stays_takes_events_and_ends_at_ctrl_c(demo: Demo, talk: Path) -> None:
    """The command that it prints publishes one more event, whose mails arrive; Ctrl-C leaves no process."""
    wait_until(lambda: "Ctrl-C" in talk.read_text(), demo, talk)
    command, inbox = printed("Publish", talk), Path(printed("Mails", talk))
    before = len(read_index(inbox))
    subprocess.run(command, shell=True, cwd=ROOT, timeout=60, check=True)  # noqa: S602 - as a person pastes it
    wait_until(lambda: len(read_index(inbox)) == before + 2, demo, talk)
    assert ended_by(signal.SIGINT, demo) == 0


def test_it_leaves_no_process_when_it_is_ended_while_it_starts(demo: Demo, talk: Path) -> None:
    """SIGTERM, such as `timeout` sends, ends it in good order at any moment."""
    wait_until(lambda: len(descendants(demo.pid)) >= STARTED, demo, talk)
    assert ended_by(signal.SIGTERM, demo) == 130


def test_it_leaves_no_process_when_it_is_killed(demo: Demo, talk: Path) -> None:
    """It can clean nothing up then, and nothing stays all the same."""
    wait_until(lambda: "A private RabbitMQ (" in talk.read_text(), demo, talk)
    assert ended_by(signal.SIGKILL, demo) == -signal.SIGKILL


def reads_as_told(mail: dict[str, Any]) -> bool:
    """Whether the file of a mail has the subject and language that the demo says."""
    message = message_from_bytes((ROOT / mail["file"]).read_bytes(), policy=policy.default)
    return bool(message["Subject"] == mail["subject"] and message["Content-Language"] == mail["language"])


def ended_by(number: signal.Signals, demo: Demo) -> int:
    """The exit code of the demo after a signal, once all that it had started is gone as well."""
    started = descendants(demo.pid)
    assert len(started) >= STARTED
    demo.send_signal(number)
    exit_code = demo.wait(LONGEST_SECONDS)
    assert gone(lambda process: process.pid in started)
    return exit_code


def printed(name: str, talk: Path) -> str:
    """What the demo says after `name:`."""
    found = re.search(rf"^{name}: *(.*)$", talk.read_text(), re.MULTILINE)
    assert found, talk.read_text()
    return found[1]


def wait_until(done: Callable[[], bool], demo: Demo, talk: Path) -> None:
    """Watch a running demo until something has happened."""
    deadline = time.monotonic() + LONGEST_SECONDS
    while not done():
        assert demo.poll() is None, talk.read_text()
        assert time.monotonic() < deadline, talk.read_text()
        time.sleep(0.05)
