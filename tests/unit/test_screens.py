"""The answers of commands on the three kinds of output: terminal, pipe and JSON."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from contracts.dead_letter import ABOUT, Reason
from worker.errors import PermanentError
from worker.findings import Finding, failed, not_reached, passed, warning
from worker.screens import print_findings, print_settings
from worker.settings import load, rows

ENVIRON = {"EmailSmtpPassword": "hunter2", "EmailSmtpUsername": "[red]cms[/red]", "NOTIFY_DEFAULT_FROM": ""}
ROWS = rows(load(ENVIRON))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal of 100 columns, as rich is told of one."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def test_settings_as_json_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Name, value and source of each, to stdout, with nothing around it."""
    print_settings(ROWS, as_json=True)
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert captured.err == ""
    assert document == [{"name": row.name, "value": row.value, "source": row.source} for row in ROWS]
    assert {"name": "EmailSmtpPassword", "value": "************", "source": "environment"} in document


def test_settings_in_a_pipe_are_plain_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a setting, no colour and no borders; what is empty says so in the guide's word."""
    print_settings(ROWS, as_json=False)
    head, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ROWS)
    assert {line.find(" " + row.source) for row, line in zip(ROWS, lines, strict=True)} == {
        head.find(" SOURCE")
    }
    assert lines[0].split() == ["EmailSMTPHost", "smtp.zengenti.com", "default"]
    assert lines[11].split() == ["EmailSmtpOAuth2Scope", "(empty)", "default"]
    assert "\x1b" not in head + "".join(lines)


def test_settings_on_a_terminal_are_a_coloured_table(
    capsys: pytest.CaptureFixture[str], terminal: pytest.MonkeyPatch
) -> None:
    """Every setting in full, whatever brackets a value holds."""
    print_settings(ROWS, as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b[" in shown
    assert "[red]cms[/red]" in shown
    assert all(row.name in shown for row in ROWS)
    assert ROWS[0].description.split(".")[0] not in shown


def test_a_wide_terminal_shows_descriptions(
    capsys: pytest.CaptureFixture[str], terminal: pytest.MonkeyPatch
) -> None:
    """Where there is room for them beside names and values."""
    terminal.setenv("COLUMNS", "200")
    print_settings(ROWS, as_json=False)
    assert ROWS[0].description.split(".")[0] in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [True, False])
def test_no_output_shows_a_secret(
    as_json: bool,  # noqa: FBT001 - a table's column
    capsys: pytest.CaptureFixture[str],
    terminal: pytest.MonkeyPatch,
) -> None:
    """Screens are photographed and pipes end in tickets."""
    print_settings(ROWS, as_json=as_json)
    assert "hunter2" not in capsys.readouterr().out


def _without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


FINDINGS = [
    passed("dns", "127.0.0.1"),
    warning("plan", "Set EmailSmtpUseSSL to true."),
    failed("tcp", PermanentError(Reason.SMTP_PORT_MISMATCH, "the port [465] answered"), str),
    *not_reached(["tls"]),
]


async def _findings() -> AsyncIterator[Finding]:
    for finding in FINDINGS:
        yield finding


async def test_findings_in_a_pipe_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """Step and mark aligned; then the sentence, what was seen, what to do, and settings not named yet."""
    await print_findings(_findings(), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    about = ABOUT[Reason.SMTP_PORT_MISMATCH]
    assert lines[0] == "dns       OK           127.0.0.1"
    assert lines[1] == "plan      WARNING      Set EmailSmtpUseSSL to true."
    assert lines[2] == (
        f"tcp       FAILED       {about.text} (the port [465] answered) {about.hint} See EmailSmtpPort."
    )
    assert lines[3] == "tls       not reached"


async def test_findings_as_json_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Step, ok, code, text and settings as documented, and what was seen and what to do."""
    shown = await print_findings(_findings(), as_json=True)
    document = json.loads(capsys.readouterr().out)
    about = ABOUT[Reason.SMTP_PORT_MISMATCH]
    assert shown == FINDINGS
    assert [row["ok"] for row in document] == [True, True, False, None]
    assert document[1]["settings"] == ["EmailSmtpUseSSL"]
    assert document[2] == {
        "step": "tcp",
        "ok": False,
        "code": "smtp-port-mismatch",
        "text": about.text,
        "settings": list(about.settings),
        "detail": "the port [465] answered",
        "hint": about.hint,
    }


async def test_a_terminal_shows_each_finding_as_it_comes(
    capsys: pytest.CaptureFixture[str], terminal: pytest.MonkeyPatch
) -> None:
    """A check may take a while, and the step that hangs is the one after the last line."""
    findings = _findings()

    async def watched() -> AsyncIterator[Finding]:
        async for finding in findings:
            yield finding
            assert finding.step in capsys.readouterr().out

    await print_findings(watched(), as_json=False)


async def test_a_terminal_wraps_long_sentences_beside_the_mark(
    capsys: pytest.CaptureFixture[str], terminal: pytest.MonkeyPatch
) -> None:
    """In colour, and whatever brackets a server's words hold."""
    await print_findings(_findings(), as_json=False)
    shown = capsys.readouterr().out
    assert "\x1b[31mFAILED" in shown
    assert "[465]" in shown
    assert max(map(len, _without_colour(shown).splitlines())) <= 100
