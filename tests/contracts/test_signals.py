"""Every documented signal is really emitted: a name that nothing uses would send people searching in vain."""

from enum import StrEnum
from pathlib import Path

import pytest

from contracts.signals import Action, Attribute, LogField, Span

SOURCE = "\n".join(path.read_text("utf-8") for path in (Path(__file__).parents[2] / "worker").glob("**/*.py"))


@pytest.mark.parametrize("member", [*Span, *Attribute, *Action], ids=repr)
def test_every_name_is_used_by_the_worker(member: StrEnum) -> None:
    """By its name, never by its value."""
    kind = "SpanName" if isinstance(member, Span) else type(member).__name__
    assert f"{kind}.{member.name}" in SOURCE
    assert f'"{member.value}"' not in SOURCE or member.value.isalpha()


def test_the_fields_of_a_log_line_are_those_that_operators_search_for() -> None:
    """In this order, first on every line."""
    names = "time level action outcome event_id event_type code trace_id"
    assert " ".join(LogField) == names
