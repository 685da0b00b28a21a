"""The README against what it describes: what administrators copy works, and what operators look up is there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from contracts.dead_letter import ABOUT, DeadClass, Reason
from contracts.signals import Action
from contracts.topology import DEAD_QUEUES, RETRY_TIERS, dead_queue
from tests.support import life_screens
from worker.settings import SETTINGS_FILE, Row, SettingsError, load, rows

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")
DOCUMENTS: Final = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/desk.md",
    "deploy/publishers/README.md",
    "deploy/kubernetes/README.md",
    "deploy/systemd/README.md",
    "deploy/runbook.md",
)
MICROSOFT_365: Final = (Path(__file__).parent / "data" / "microsoft-365-oauth2.txt").read_text("utf-8")
SHOWN_OTHERWISE: Final = {
    "NOTIFY_BROKER_URL": "`amqp://guest:guest@localhost:5672/`",  # the default hides no secret
    "NOTIFY_SMTP_MESSAGES_PER_MINUTE": "no limit",
}
TABLE_ROWS: Final = [line.strip("| ").split(" | ") for line in README.splitlines() if line.startswith("| ")]


def blocks(language: str) -> list[str]:
    """The fenced blocks in `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def settings_file(folder: Path) -> Path:
    """The README's settings file, as somebody pastes it."""
    file = folder / "notify-worker.txt"
    file.write_text(next(block for block in blocks("text") if "EmailSMTPHost" in block), encoding="utf-8")
    return file


def queue_of(dead_class: DeadClass) -> str:
    """Where dead letters of a class end."""
    return dead_queue(next(name for name, keys in DEAD_QUEUES.items() if f"{dead_class}.#" in keys))


@pytest.mark.parametrize("row", rows(load({})), ids=lambda row: row.name)
def test_every_setting_is_in_the_table_with_its_default(row: Row) -> None:
    """Name and default; where the default depends on the host, that of other hosts comes first."""
    listed = {cells[0]: cells[1] for cells in TABLE_ROWS if len(cells) > 1}
    default = SHOWN_OTHERWISE.get(row.name, f"`{row.value}`" if row.value else "(empty)")
    assert listed[f"`{row.name}`"].startswith(default)


def test_the_settings_file_may_be_named_in_the_environment() -> None:
    """The one name that is no setting."""
    assert f"`{SETTINGS_FILE}`" in README


def test_the_settings_to_paste_hold_the_vendors_block_as_it_stands(tmp_path: Path) -> None:
    """Caption line and placeholders included; nothing but the placeholders is wrong with it."""
    file = settings_file(tmp_path)
    assert file.read_text("utf-8").endswith(MICROSOFT_365.strip() + "\n")
    with pytest.raises(SettingsError) as refusal:
        load({}, file)
    said = [fault.replace(str(file), file.name) for fault in refusal.value.faults]
    assert "\n".join(["The settings cannot be read:", *said]) in README


@pytest.mark.parametrize("reason", Reason)
def test_every_code_is_listed_with_its_class_and_queue(reason: Reason) -> None:
    """So an operator finds what to do about it."""
    dead_class = ABOUT[reason].dead_class
    classes = {cells[0]: cells for cells in TABLE_ROWS if len(cells) == 4}
    _, queue, codes, _ = classes[f"`{dead_class}`"]
    assert queue == f"`{queue_of(dead_class)}`"
    assert f"`{reason}`" in codes.split(", ")


def test_every_action_of_the_log_is_listed() -> None:
    """Names to search for."""
    actions = next(cells[1] for cells in TABLE_ROWS if cells[0] == "`action`")
    assert actions.split() == [f"`{action}`" for action in Action]


def test_the_retry_queues_are_in_the_picture() -> None:
    """All delays, in order."""
    assert f"notify.retry.{' '.join(RETRY_TIERS)}" in README


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_within_the_project_lead_somewhere(document: str) -> None:
    """To files, and to headings of them."""
    text = (ROOT / document).read_text("utf-8")
    for path, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), path
        assert not anchor or anchor in headings(target), f"{path}#{anchor}"


def headings(document: Path) -> set[str]:
    """What links can point at, as GitHub names it."""
    titles = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("screen", [life_screens.whereis_screen, life_screens.doctor_screen])
def test_screens_are_as_they_print(screen: Callable[[], str]) -> None:
    """Letter by letter; `python -m tests.support.life_screens` prints them anew."""
    assert screen() in README
