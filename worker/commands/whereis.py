"""`whereis`: arguments and printing only."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from worker import screens, whereis
from worker.commands.shell import NOTHING_MATCHED, Json, SettingsFile, at_the_broker, broker_url, loaded, since
from worker.trail import Fact, Sought
from worker.whereabouts import Place, in_words, next_step

SHOWN_OF_A_NAME: Final = 8
_SAID_ONCE: Final = {
    "event": "event",
    "type": "of type",
    "trace": "trace",
    "worker": "by",
    "settings_rev": "settings",
}
_COLOURS: Final = {
    "delivered": "green",
    "suppressed": "dim",
    "retry": "yellow",
    "interrupted": "yellow",
    "waiting": "yellow",
    "under-way": "yellow",
    "dead": "red",
}


def _sought(text: str) -> Sought:
    try:
        return Sought.of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def command(
    sought: Annotated[
        Sought,
        typer.Argument(
            metavar="ID", parser=_sought, help="Event id, Message-ID, trace id or dead letter's id."
        ),
    ],
    settings: SettingsFile = None,
    *,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=since,
            metavar="TIME",
            help="Only what happened since: 2h, 3d or 2026-11-24T09:30 (UTC).",
            show_default="all that the journal holds",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the whole life of one mail or event, and where it is now; exit code 1 if nothing is known of it."""
    known = loaded(settings)
    with _progress() as progress:
        search = whereis.find(broker_url(known), known.worker.prefix, sought, since=since, progress=progress)
        found = at_the_broker(search)
    now = datetime.now(UTC)
    if as_json:
        screens.print_json(_document(found, now))
    elif found.facts:
        print_found(found, now)
    for sentence in _remarks(found, since):
        typer.echo(sentence, err=True)
    raise typer.Exit(0 if found.facts else NOTHING_MATCHED)


@contextmanager
def _progress() -> Iterator[whereis.Progress]:
    """A bar on a terminal, gone afterwards."""
    columns = (TextColumn("reading the journal"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _document(found: whereis.Found, now: datetime) -> dict[str, Any]:
    return {
        "facts": [fact.document() for fact in found.facts],
        "now": [
            {
                "state": place.state,
                "mails": place.mails,
                "event": place.fact.event,
                "queue": place.queue,
                "text": in_words(place, found.depths, now),
                "next": next_step(place, found.depths),
            }
            for place in found.places
        ],
        "remarks": list(_remarks(found, None)),
    }


def print_found(found: whereis.Found, now: datetime) -> None:
    """Write the life of what was found to stdout, a line a fact, then where each mail is."""
    lines = list(_lines(found.facts))
    lines += [
        ("now", place.state, _mails(place), _printable(in_words(place, found.depths, now)))
        for place in found.places
    ]
    console = Console()
    if console.is_terminal:
        console.print(_table(lines))
    else:
        screens.print_plain(("AT", "WHAT", "MAIL", "SAYS"), lines)
    sys.stdout.flush()


def _lines(facts: Iterable[Fact]) -> Iterator[tuple[str, str, str, str]]:
    """A line a fact; what is new of event, trace, worker and settings is said with the fact where it begins."""
    before = Fact("", "")
    for fact in facts:
        at = fact.at.replace("T", " ").removesuffix("Z") or "-"
        says = "; ".join([*_says(fact), *_new(fact, before)])
        yield at, fact.what, fact.mail[:SHOWN_OF_A_NAME] or "-", _printable(says)
        before = fact


def _says(fact: Fact) -> Iterator[str]:
    said = ": ".join(filter(None, (fact.code, fact.detail)))
    if said:
        yield said
    if fact.unknown:
        yield "the server may have taken it, no reply came"
    if fact.attempt > 1:
        yield f"attempt {fact.attempt}"
    if fact.tier:
        yield f"again in {fact.tier}"
    if fact.dead_id:
        yield f"dead letter {fact.dead_id}"


def _new(fact: Fact, before: Fact) -> Iterator[str]:
    for name, says in _SAID_ONCE.items():
        value = getattr(fact, name)
        if value and value != getattr(before, name):
            yield f"{says} {value}"


def _printable(text: str) -> str:
    """A server's words may hold what moves a terminal's cursor."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _mails(place: Place) -> str:
    return place.fact.mail[:SHOWN_OF_A_NAME] if place.mails == 1 and place.fact.mail else f"{place.mails} mails"


def _table(lines: list[tuple[str, str, str, str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("At (UTC)", no_wrap=True)
    table.add_column("What", no_wrap=True)
    table.add_column("Mail", no_wrap=True)
    table.add_column("Says", overflow="fold")
    for at, what, mail, says in lines:
        # Text, not markup: a server's words may hold square brackets.
        bold = "bold" if at == "now" else ""
        table.add_row(Text(at, bold), Text(what, _COLOURS.get(what, "")), Text(mail, "dim"), Text(says, bold))
    return table


def _remarks(found: whereis.Found, since: datetime | None) -> Iterator[str]:
    """What else to know, and the next command."""
    yield from found.lacks
    if not found.facts:
        yield from _nothing(found, since)
    yield from sorted({f"Next: {step}" for place in found.places if (step := next_step(place, found.depths))})


def _nothing(found: whereis.Found, since: datetime | None) -> Iterator[str]:
    if found.begins:
        asked = f"since {since:%Y-%m-%d %H:%M} UTC" if since else f"which begins at {found.begins}"
        yield f"Nothing in the journal, {asked}, bears this id. An address is in none of its records."
        yield "An event that no worker has taken yet has no record."
    elif found.lacks:
        yield "Without the journal only the worker's log tells: search it for event_id, trace_id or mail."
    else:
        yield "The journal is empty: no worker has written to it yet."
    for queue, depth in found.depths.items():
        if depth.messages:
            look = "; to look there: notify-worker dead list" if ".dead." in queue else ""
            yield f"{queue} holds {depth.messages}{look}"
