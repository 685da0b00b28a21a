"""The demo's result, for people and for programs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contracts.dead_letter import header_name
from deploy.local.broker_view import Look
from deploy.local.facts import Facts, dead_letter_of
from deploy.local.inbox import StoredMail

_LONGEST_SUBJECT = 50
_WIDTH = 240  # wide enough for every line: a narrow terminal breaks one rather than lose its end


def show(facts: Facts, differences: list[str], folder: Path) -> None:
    """One line a mail and one a dead letter, and whether that is what had to come."""
    console = Console(width=_WIDTH, highlight=False)
    console.print(_mail_table(facts.mails, folder), "", _dead_table(facts.dead), "")
    for difference in differences:
        console.print(f"[red]✗[/] {escape(difference)}")
    if not differences:
        numbers = f"{len(facts.mails)} mails and {len(facts.dead)} dead letters"
        console.print(f"[green]✓[/] {numbers}: exactly what the events had to lead to.")


def as_json(facts: Facts, differences: list[str], folder: Path) -> str:
    """The same as one JSON document."""
    document = {
        "as_expected": not differences,
        "differences": differences,
        "folder": str(folder),
        "mails": [_mail(mail, folder) for mail in facts.mails],
        "dead": [_dead(look) for look in facts.dead],
        "waiting": {queue: number for queue, number in facts.waiting.items() if number},
    }
    return json.dumps(document, ensure_ascii=False, indent=2)


def _mail(mail: StoredMail, folder: Path) -> dict[str, Any]:
    return {
        "to": list(mail.to),
        "subject": mail.subject,
        "language": mail.language,
        "file": str(folder / mail.file),
    }


def _dead(look: Look) -> dict[str, str]:
    known = asdict(dead_letter_of(look))
    return {
        "class": known.pop("dead_class"),
        **known,
        "detail": str(look.headers.get(header_name("detail"), "")),
        "setting": str(look.headers.get(header_name("setting"), "")),
        "queue": look.queue,
    }


def _mail_table(mails: list[StoredMail], folder: Path) -> Table:
    table = _table(f"Mails in {folder}", "To", "Language", "Subject", "File")
    for mail in mails:
        table.add_row(*map(escape, (", ".join(mail.to), mail.language, _cut(mail.subject), mail.file)))
    return table


def _dead_table(dead: list[Look]) -> Table:
    table = _table("Dead letters", "Class", "Code", "Text")
    for letter in map(dead_letter_of, dead):
        table.add_row(*map(escape, (letter.dead_class, letter.code, letter.text)))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, style="none", header_style="dim")
    return table


def _cut(subject: str) -> str:
    return subject if len(subject) <= _LONGEST_SUBJECT else f"{subject[: _LONGEST_SUBJECT - 1]}…"
