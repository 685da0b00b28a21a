"""The demo's result, for people and for programs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from contracts.dead_letter import header_name
from deploy.local.broker_view import Look
from deploy.local.facts import Facts, dead_letter_of
from deploy.local.inbox import StoredMail


def show(console: Console, facts: Facts, differences: list[str], folder: Path) -> None:
    """One line a mail and one a dead letter, and whether that is what had to come."""
    console.print(_mail_table(facts.mails, folder), _dead_table(facts.dead))
    for difference in differences:
        console.print(f"[red]✗[/] {difference}", soft_wrap=True, highlight=False)
    if not differences:
        numbers = f"{len(facts.mails)} mails and {len(facts.dead)} dead letters"
        console.print(f"[green]✓[/] {numbers}: exactly what the events had to lead to.", highlight=False)


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
    table = Table("To", "Subject", "Language", "File", title=f"Mails in {folder}", title_justify="left")
    for mail in mails:
        table.add_row(", ".join(mail.to), mail.subject, mail.language, mail.file)
    return table


def _dead_table(dead: list[Look]) -> Table:
    table = Table("Class", "Code", "Text", title="Dead letters", title_justify="left")
    for look in dead:
        letter = dead_letter_of(look)
        table.add_row(letter.dead_class, letter.code, letter.text)
    return table
