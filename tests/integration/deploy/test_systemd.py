"""The systemd unit: systemd itself takes it, and finds it exposed as little as its page says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from worker.pipeline import BUDGET_SECONDS
from worker.settings import SETTINGS_FILE, load, rows

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = FOLDER / "notify-worker.service"
TEXT = UNIT.read_text("utf-8")
NAMES = {row.name for row in rows(load({}))} | {SETTINGS_FILE}
ENVIRONMENT = dict(re.findall(r"^Environment=(\w+)=(.*)$", TEXT, re.MULTILINE))


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What systemd's own judge says."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("LEFT OUT because systemd-analyze is missing: the unit was not judged by systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603


def test_systemd_understands_it(tmp_path: Path) -> None:
    """Every section and setting is known. What it starts need not be installed here."""
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=.*", "ExecStart=/bin/true", TEXT, flags=re.MULTILINE))
    said = analyze("verify", str(copy))
    assert (said.returncode, said.stderr) == (0, "")


def test_it_is_exposed_as_little_as_is_said() -> None:
    """The page's number, times ten; other versions of systemd count a little more."""
    told = re.search(r"exposure (\d+\.\d) OK", (FOLDER / "README.md").read_text("utf-8"))
    assert told
    most = round(float(told[1]) * 10) + 5
    said = analyze("security", "--offline=true", f"--threshold={most}", "--no-pager", str(UNIT))
    assert said.returncode == 0, said.stdout[-200:]


def test_variables_are_settings() -> None:
    """By their documented names."""
    assert set(ENVIRONMENT) <= NAMES


def test_a_worker_has_time_to_finish() -> None:
    """It drains longer than the mails of one event may take, and is killed later than it has drained."""
    drain = int(ENVIRONMENT["NOTIFY_DRAIN_SECONDS"])
    stop = re.search(r"^TimeoutStopSec=(\d+)$", TEXT, re.MULTILINE)
    assert stop
    assert drain > BUDGET_SECONDS
    assert int(stop[1]) >= drain + 10
