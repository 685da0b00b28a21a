"""`dead`, and the commands that only look: `list`, `show`, `explain`, `export`. Arguments and printing only."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Final

import typer

from contracts.dead_letter import DeadClass, Reason
from worker.check import check
from worker.commands import dead_screens as screens
from worker.commands.progress import Progress
from worker.commands.shell import (
    NOTHING_MATCHED,
    Json,
    SettingsFile,
    at_the_broker,
    broker_url,
    complete,
    loaded,
    refuse,
    since,
)
from worker.desk import ndjson, veil
from worker.desk.groups import COMMAND, Group, cause, grouped, next_command
from worker.desk.letter import Letter
from worker.desk.reading import Looked, look
from worker.desk.selection import AmbiguousError, Filter, named
from worker.findings import Finding, Mark
from worker.screens import finding_object, print_findings, print_json
from worker.settings import Settings, settings_revision

SHOWN_AT_ONCE: Final = 50
CHECKED: Final = frozenset(map(str, (DeadClass.CONFIG, DeadClass.EXHAUSTED)))
"""Classes whose cause a live check of the way to the mail server can find."""

app = typer.Typer(help="What could not be delivered: why, and what to do.", invoke_without_command=True)


Word = Annotated[str, typer.Argument(metavar="ID", help="A letter's id; its beginning will do.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID|GROUP|CODE]...", help="Which ones.", show_default="all"),
]
Codes = Annotated[list[str] | None, typer.Option("--code", metavar="CODE", help="Only these; again for more.")]
Classes = Annotated[
    list[str] | None, typer.Option("--class", metavar="CLASS", help="config, poison, rejected, …")
]
Lanes = Annotated[list[str] | None, typer.Option("--lane", metavar="LANE", help="urgent or standard.")]
Groups = Annotated[list[str] | None, typer.Option("--group", metavar="GROUP", help="Of these groups.")]
EventIds = Annotated[list[str] | None, typer.Option("--event-id", metavar="ID", help="Of these events.")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=since, metavar="AGO|TIME", help="What died since then: 2h, 3d, 2026-11-24T09:30."),
]
Reveal = Annotated[
    bool, typer.Option("--reveal", help="Show personal data and secrets: addresses, links, answers.")
]


@app.callback()
def groups(context: typer.Context, settings: SettingsFile = None, *, as_json: Json = False) -> None:
    """Show dead letters in groups by their cause, the largest first. Looking changes nothing."""
    if context.invoked_subcommand is not None:
        if settings or as_json:
            raise typer.BadParameter("options stand behind the command: dead list --json")
        return
    looked = _looked(loaded(settings))
    found = grouped(looked.letters, looked.settings_rev)
    if as_json:
        print_json([screens.group_object(group) for group in found])
    elif found:
        screens.print_groups(found)
        typer.echo(f"To see what a group is about: {COMMAND} explain GROUP", err=True)
    else:
        typer.echo("There are no dead letters.", err=True)


@app.command("list")
def list_letters(
    words: Words = None,
    settings: SettingsFile = None,
    *,
    codes: Codes = None,
    classes: Classes = None,
    lanes: Lanes = None,
    of_groups: Groups = None,
    event_ids: EventIds = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = SHOWN_AT_ONCE,
    as_json: Json = False,
) -> None:
    """List dead letters, the newest first; exit code 1 if nothing matches."""
    wanted = Filter.of(
        since=since, codes=codes, classes=classes, lanes=lanes, groups=of_groups, event_ids=event_ids
    )
    chosen = _chosen(_looked(loaded(settings)).letters, words or (), wanted)
    shown = list(reversed(chosen))[:limit]
    if as_json:
        print_json([screens.letter_object(letter) for letter in shown])
    elif shown:
        screens.print_letters(shown)
        more = f" {len(chosen) - len(shown)} more: --limit {len(chosen)}." if len(chosen) > len(shown) else ""
        typer.echo(f"To see one: {COMMAND} show ID.{more}", err=True)
    _end(chosen)


@app.command()
def show(
    word: Word,
    settings: SettingsFile = None,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write the body's bytes as they are.")] = False,
    reveal: Reveal = False,
    as_json: Json = False,
) -> None:
    """Show one dead letter: why it died, its attempts, its headers and its body, personal data masked."""
    if raw and not reveal:
        refuse("--raw shows the body as it is, with addresses and links: it needs --reveal.")
    looked = _looked(loaded(settings), keeps_body=lambda letter: letter.id.lower().startswith(word.lower()))
    letter = _one(_chosen(looked.letters, (word,), Filter()))
    if raw:
        sys.stdout.buffer.write(letter.body)
    elif as_json:
        body = veil.revealed(letter) if reveal else veil.body(letter)
        print_json({**screens.letter_object(letter), "headers": veil.headers(letter), "body": body})
    else:
        shown = veil.revealed(letter) if reveal else veil.body(letter)
        screens.print_letter(letter, json.dumps(shown, ensure_ascii=False, indent=2))
        typer.echo(f"To see what to do: {COMMAND} explain {letter.id}", err=True)


@app.command()
def explain(
    word: Annotated[str, typer.Argument(metavar="ID|GROUP|CODE", help="What to explain.")],
    settings: SettingsFile = None,
    *,
    live: Annotated[bool, typer.Option("--check/--no-check", help="Try the way to the mail server.")] = True,
    as_json: Json = False,
) -> None:
    """Explain a cause: the documented sentence, what was seen, the settings, and whether it is still so."""
    known = loaded(settings)
    looked = _looked(known)
    group, letters = _cause(looked, word)
    if not as_json:
        screens.print_lines(screens.explain_lines(group, letters, screens.screen_width()))
    findings = _checked(known, as_json=as_json) if live and group.dead_class in CHECKED else []
    notes = list(_notes(group, findings, settings_revision(known), looked.settings_rev))
    following = _next(group, findings)
    if as_json:
        seen = [{"detail": detail, "count": count} for detail, count in screens.details(letters)]
        checked = [finding_object(finding) for finding in findings]
        document = screens.group_object(group) | {"details": seen, "check": checked, "notes": notes}
        print_json(document | {"next": following})
        return
    for sentence in notes:
        typer.echo(sentence, err=True)
    typer.echo(following, err=True)


@app.command()
def export(
    words: Words = None,
    settings: SettingsFile = None,
    *,
    codes: Codes = None,
    classes: Classes = None,
    lanes: Lanes = None,
    of_groups: Groups = None,
    event_ids: EventIds = None,
    since: Since = None,
    reveal: Reveal = False,
) -> None:
    """Write dead letters to stdout, a line of JSON each, bodies included: what `dead import` reads."""
    if not reveal:
        refuse(
            "An export holds the bodies, since nothing else can be imported: it needs --reveal.",
            f"Without personal data: {COMMAND} list --json",
        )
    wanted = Filter.of(
        since=since, codes=codes, classes=classes, lanes=lanes, groups=of_groups, event_ids=event_ids
    )
    chosen = _chosen(_looked(loaded(settings), keeps_body=wanted).letters, words or (), wanted)
    for letter in chosen:
        sys.stdout.write(f"{ndjson.written(letter)}\n")
    sys.stdout.flush()
    typer.echo(f"{len(chosen)} dead letters written; they stay in their queues.", err=True)
    _end(chosen)


def _looked(settings: Settings, keeps_body: Callable[[Letter], bool] = lambda _letter: False) -> Looked:
    prefix = settings.worker.prefix
    with Progress("Reading dead letters", 100) as progress:
        work = look(
            broker_url(settings),
            prefix,
            keeps_body=keeps_body,
            progress=lambda done, total: progress.at(round(100 * done / max(total, 1))),
        )
        looked = at_the_broker(work)
    screens.say_how_it_was_looked(looked)
    return looked


def _chosen(
    letters: Sequence[Letter], words: Iterable[str], wanted: Filter, *, quiet: bool = False
) -> list[Letter]:
    """The letters that the filter takes and a word names, or all of them without words."""
    taken = [letter for letter in letters if wanted(letter)]
    meant: set[str] = set()
    try:
        for word in words:
            found = named(word, taken)
            meant.update(letter.id for letter in found)
            if not found and not quiet:
                typer.echo(f"No dead letter is named {veil.line(word)!r}.", err=True)
    except AmbiguousError as error:
        refuse(str(error))
    return [letter for letter in taken if letter.id in meant] if words else taken


def _cause(looked: Looked, word: str) -> tuple[Group, list[Letter]]:
    """The group that `word` names, or the letter of it, and its letters; for a code there may be none."""
    is_code = word in set(Reason)
    meant = _chosen(looked.letters, (word,), Filter(), quiet=is_code)
    if not meant and is_code:
        return cause(Reason(word)), []
    _end(meant)
    letters = [letter for letter in looked.letters if letter.group == meant[0].group]
    return grouped(letters, looked.settings_rev)[0], letters


def _one(letters: list[Letter]) -> Letter:
    if not letters:
        _end(letters)
    if len(letters) > 1:
        refuse(f"That names {len(letters)} dead letters: write one id. To see them: {COMMAND} list")
    return letters[0]


def _end(letters: list[Letter]) -> None:
    if not letters:
        typer.echo("No dead letter matches.", err=True)
        raise typer.Exit(NOTHING_MATCHED)


def _checked(settings: Settings, *, as_json: bool) -> list[Finding]:
    if as_json:
        return complete(_collected(settings))
    typer.echo("\nThe way to the mail server, now:")
    return complete(print_findings(check(settings), as_json=False))


async def _collected(settings: Settings) -> list[Finding]:
    return [finding async for finding in check(settings)]


def _notes(group: Group, findings: list[Finding], own_rev: str, workers_rev: str) -> Iterable[str]:
    wrong = [finding for finding in findings if finding.mark is Mark.FAILED]
    if any(finding.code == group.code for finding in wrong):
        yield "It is still so: the check fails in the same way."
    elif wrong:
        yield "The check fails in another way: see above."
    elif findings:
        yield "The check finds nothing wrong now."
    if findings and workers_rev and own_rev != workers_rev:
        yield f"It used the settings of this command ({own_rev}); the workers run with others ({workers_rev})."


def _next(group: Group, findings: list[Finding]) -> str:
    if not group.count:
        return f"To see what there is: {COMMAND}"
    if findings:
        well = all(finding.mark is not Mark.FAILED for finding in findings)
        again = f"{COMMAND} retry {group.id} --canary 1"
        return f"To send a first one again: {again}" if well else f"When it is mended: {again}"
    following = next_command(group.id, group.dead_class, changed=True)
    if following.split()[2] == "explain":
        return f"To look at one: {COMMAND} list {group.id}. When the cause is gone: {COMMAND} retry {group.id}"
    return f"Next: {following}"
