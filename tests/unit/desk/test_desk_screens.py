"""The desk's screens as the documents show them, and as they fit a terminal."""

from pathlib import Path

import pytest

from tests.support.desk_screens import WIDTH, dead_screen, explain_screen, letters
from worker.commands.dead_screens import costs, letter_object, print_groups
from worker.desk.groups import grouped
from worker.desk.reading import Looked

DOCUMENT = (Path(__file__).parents[3] / "docs" / "desk.md").read_text("utf-8")


def lines_of(screen: str) -> list[str]:
    """Its lines."""
    return screen.splitlines()


@pytest.mark.parametrize("screen", [dead_screen(), explain_screen()], ids=["dead", "explain"])
def test_the_document_shows_the_screen_as_it_is(screen: str) -> None:
    """`python -m tests.support.desk_screens` prints what has to stand there."""
    assert screen in DOCUMENT
    assert max(map(len, lines_of(screen))) <= WIDTH


def test_a_pipe_gets_a_line_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    """Without colour, for `grep` and `awk`."""
    print_groups(grouped(letters(), ""))
    head, *lines = lines_of(capsys.readouterr().out)
    assert head.split()[:4] == ["GROUP", "COUNT", "CLASS", "CODE"]
    assert [line.split()[3] for line in lines] == ["oauth2-requires-tls", "recipient-refused", "invalid-data"]
    assert "\x1b" not in "".join(lines)


def test_a_letter_as_json_has_its_headers_without_their_prefix() -> None:
    """Beside the id of the letter and of the event."""
    shown = letter_object(next(letters()))
    assert list(shown)[:2] == ["id", "event_id"]
    assert shown["settings_rev"] == "ab12cd34ef56"
    assert shown["origin_queue"] == "notify.work.urgent"
    assert not [name for name in shown if "-" in name or name.startswith("notify")]


def test_what_a_look_cost_is_said() -> None:
    """Only where it cost anything."""
    assert not list(costs(Looked(())))
    (peeked, busy) = costs(Looked((), peeked={"q": 3}, busy=("r",), streamless=True))
    assert peeked.startswith("q was peeked in, since there is no stream of copies: its 3 messages")
    assert "reading r" in busy
