"""Groups by cause, and what to type next."""

import pytest

from contracts.dead_letter import Reason
from contracts.topology import Lane
from tests.support.dead_letters import BEGUN
from tests.support.desk_screens import letter
from worker.desk.groups import cause, grouped, next_command

REV = "ab12cd34ef56"


def test_one_cause_is_one_group_whatever_the_lane() -> None:
    """With the first and the last, and how many came from where."""
    quota = [letter(Reason.SMTP_QUOTA, 1), letter(Reason.SMTP_QUOTA, lane=Lane.URGENT)]
    largest, other = grouped([letter(Reason.EXPIRED), *quota], "")
    assert (largest.code, largest.count, dict(largest.lanes)) == (
        "smtp-quota",
        2,
        {"standard": 1, "urgent": 1},
    )
    assert largest.first == BEGUN
    assert largest.last is not None
    assert largest.last > BEGUN
    assert other.code == "expired"


@pytest.mark.parametrize(("now", "changed"), [(REV, False), ("000000000000", True), ("", None)])
def test_settings_have_changed_when_none_died_under_those_of_now(now: str, changed: bool | None) -> None:  # noqa: FBT001 - a column
    """It is not known without a journal."""
    (group,) = grouped([letter(Reason.SMTP_QUOTA)], now)
    assert group.settings_changed is changed


@pytest.mark.parametrize(
    ("dead_class", "changed", "command"),
    [
        ("config", True, "retry g --canary 1"),
        ("config", False, "explain g"),
        ("config", None, "explain g"),
        ("exhausted", False, "retry g --canary 1"),
        ("expired", None, "discard g --reason expired"),
        ("poison", None, "explain g"),
        ("rejected", None, "explain g"),
        ("unroutable", None, "explain g"),
    ],
)
def test_the_next_command_is_what_helps(dead_class: str, changed: bool | None, command: str) -> None:  # noqa: FBT001 - a column
    """A canary where the cause may be gone."""
    assert next_command("g", dead_class, changed=changed) == f"notify-worker dead {command}"


@pytest.mark.parametrize("reason", Reason)
def test_every_code_can_be_explained_without_a_letter(reason: Reason) -> None:
    """The same group id as with one."""
    assert cause(reason).count == 0
    assert cause(reason).id == letter(reason).group
