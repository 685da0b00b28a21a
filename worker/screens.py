"""How the commands' answers look: a table with colour on a terminal, plain text in a pipe, JSON when asked."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.settings import Row

EMPTY: Final = "(empty)"
"""What the guide writes for a setting without a value."""

WIDE: Final = 130
"""Columns from which a terminal has room for descriptions beside names and values."""


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
