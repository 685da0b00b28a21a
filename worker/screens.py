"""How the commands' answers look: a table with colour on a terminal, plain text in a pipe, JSON when asked."""

import json
import sys
from collections import Counter
from collections.abc import AsyncIterable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.errors import PermanentError
from worker.findings import Finding, Mark
from worker.preview import INDEX, Shown
from worker.settings import Row
from worker.survey import APPLY, Found, State

EMPTY: Final = "(empty)"
"""What the guide writes for a setting without a value."""

WIDE: Final = 130
"""Columns from which a terminal has room for descriptions beside names and values."""


STEP_WIDTH: Final = len("settings")
MARK_WIDTH: Final = max(map(len, Mark))
_COLOURS: Final = {
    Mark.OK: "green",
    Mark.WARNING: "yellow",
    Mark.UNCLEAR: "yellow",
    Mark.FAILED: "red",
    Mark.NOT_REACHED: "dim",
}


def print_settings(rows: Sequence[Row], *, as_json: bool) -> None:
    """Write the settings to stdout; as JSON they are one document, `[{name, value, source}]`."""
    if as_json:
        print_json([{"name": row.name, "value": row.value, "source": row.source} for row in rows])
        return
    console = Console()
    if console.is_terminal:
        console.print(_settings_table(rows, described=console.width >= WIDE))
    else:
        print_plain(("NAME", "VALUE", "SOURCE"), ((row.name, row.value or EMPTY, row.source) for row in rows))


async def print_findings(findings: AsyncIterable[Finding], *, as_json: bool) -> list[Finding]:
    """Write findings to stdout as they come, a line each; as JSON they are one document at the end.

    `[{step, ok, code, text, settings, detail, hint}]`, where `ok` is null for a step that was not reached.
    """
    console = Console()
    shown = []
    async for finding in findings:
        shown.append(finding)
        if not as_json and console.is_terminal:
            console.print(_finding_grid(finding))
        elif not as_json:
            _print_finding(finding)
    if as_json:
        print_json([finding_object(finding) for finding in shown])
    return shown


def print_previews(shown: Sequence[Shown], folder: Path, *, as_json: bool) -> None:
    """Write what was previewed to stdout, a line each; as JSON it is one document.

    `{index, mails: [{mail, languages, to, sent, subject, text, html, eml}]}` with paths of files; a mail that
    cannot be made has `code` and `error` in place of the last four.
    """
    if as_json:
        print_json({"index": str(folder / INDEX), "mails": [_preview_object(item) for item in shown]})
    else:
        print_plain(("LANGUAGE", "FILE", "SUBJECT"), map(_preview_line, shown))


def _preview_line(item: Shown) -> tuple[str, ...]:
    addressee, outcome = item.preview.addressee, item.preview.outcome
    says = f"{outcome.reason}: {outcome}" if isinstance(outcome, PermanentError) else outcome.subject
    return " ".join(addressee.languages), item.files["html"].name if item.files else "(none)", says


def _preview_object(item: Shown) -> dict[str, Any]:
    addressee, outcome = item.preview.addressee, item.preview.outcome
    document: dict[str, Any] = {
        "mail": addressee.variant,
        "languages": addressee.languages,
        "to": addressee.to,
        "sent": addressee.wanted,
    }
    if isinstance(outcome, PermanentError):
        return document | {"code": outcome.reason, "error": str(outcome)}
    files = {kind: str(path) for kind, path in item.files.items()}
    return document | {"subject": outcome.subject} | files


def print_topology(found: Sequence[Found], *, as_json: bool) -> None:
    """Write what differs or was declared to stdout, each with the steps that mend it, and a summary to stderr.

    As JSON everything is there, one document: `[{kind, name, state, text, fix}]`, where `fix` lists the steps.
    """
    if as_json:
        print_json([_found_object(it) for it in found])
        return
    for it in found:
        for line in _found_lines(it):
            sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    sys.stderr.write(f"{_summary(found)}\n")


def print_json(document: object) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def print_plain(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> None:
    """Write aligned columns to stdout, without colour or borders, so that `grep` and `awk` can read them."""
    table = [head, *lines]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def finding_object(finding: Finding) -> dict[str, Any]:
    """The finding as `check --json` has it."""
    names = ("step", "ok", "code", "text", "settings", "detail", "hint")
    return {name: getattr(finding, name) for name in names}


def _found_object(found: Found) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("kind", "name", "state", "text", "fix")}


def _found_lines(found: Found) -> Iterable[str]:
    if found.state is State.DECLARED:
        yield f"declared {found.kind} {found.name}"
    if found.wrong:
        yield f"{found.kind} {found.name}{' ' if found.text.startswith('is ') else ': '}{found.text}"
        yield from (f"    {number}. {step}" for number, step in enumerate(found.fix, 1))


def _summary(found: Sequence[Found]) -> str:
    counts = Counter(it.state for it in found)
    wrong = sum(it.wrong for it in found)
    said = f"{wrong} of {len(found)} are not as they should be." if wrong else "All is as it should be."
    if counts[State.DECLARED]:
        said = f"{counts[State.DECLARED]} declared. {said}"
    if counts[State.UNSEEN]:
        said += (
            f" {counts[State.UNSEEN]} bindings were not seen: --management URL shows them, "
            f"{APPLY} makes sure of them."
        )
    return said


def _print_finding(finding: Finding) -> None:
    advice = _advice(finding)
    said = " ".join(filter(None, (finding.text, finding.detail and f"({finding.detail})")))
    said += f"{'' if said.endswith(('.', ')')) else ':'} {advice}" if advice else ""
    sys.stdout.write(
        f"{finding.step.ljust(STEP_WIDTH)}  {finding.mark.ljust(MARK_WIDTH)}  {said}".rstrip() + "\n"
    )
    sys.stdout.flush()


def _finding_grid(finding: Finding) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=STEP_WIDTH)
    table.add_column(width=MARK_WIDTH)
    table.add_column(overflow="fold")
    colour = _COLOURS[finding.mark]
    table.add_row(Text(finding.step, style="bold"), Text(finding.mark, style=colour), Text(finding.text))
    for line, style in ((finding.detail, colour), (_advice(finding), "")):
        if line:
            table.add_row("", "", Text(line, style=style))
    return table


def _advice(finding: Finding) -> str:
    """What to do, and the settings it is about where the sentence does not name them."""
    if finding.mark is not Mark.FAILED:
        return ""
    unnamed = [
        name for name in finding.settings if name not in f"{finding.text} {finding.detail} {finding.hint}"
    ]
    return " ".join(filter(None, (finding.hint, f"See {', '.join(unnamed)}." if unnamed else "")))


def _settings_table(rows: Iterable[Row], *, described: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Name", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("Source", no_wrap=True)
    if described:
        table.add_column("Description", style="dim")
    for row in rows:
        # Text, not markup: a value may hold square brackets.
        cells = [Text(row.name, style="bold"), _value(row), _source(row)]
        table.add_row(*cells, *([Text(row.description)] if described else []))
    return table


def _value(row: Row) -> Text:
    return Text(row.value, style="yellow" if row.secret else "") if row.value else Text(EMPTY, style="dim")


def _source(row: Row) -> Text:
    return Text(row.source, style="dim" if row.source == "default" else "green")
