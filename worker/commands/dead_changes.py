"""`dead retry|discard|restore|edit|import`: what changes dead letters. Arguments and printing only."""

import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Never

import typer

from worker import exporters
from worker.broker import BROKER_ERRORS, BrokerUnavailableError, end_of, unless_lost
from worker.commands import dead_options as options
from worker.commands import dead_reports as reports
from worker.commands.dead import Classes, Codes, EventIds, Groups, Lanes, Since, app
from worker.commands.dead_options import All, By, DryRun, Note, Words, Yes
from worker.commands.dead_reports import Report, UnsafeError
from worker.commands.progress import Progress
from worker.commands.shell import Json, SettingsFile, at_the_broker, broker_url, loaded, refuse
from worker.desk import ndjson
from worker.desk.case import Fate, Redrive
from worker.desk.choice import Choice
from worker.desk.discard import discard as discard_letters
from worker.desk.discard import is_kept
from worker.desk.edit import Change, EditError, body_of, edited
from worker.desk.edit import edit as put_in_place
from worker.desk.holding import DeskTakenError, look
from worker.desk.letter import Letter
from worker.desk.past import past
from worker.desk.redrive import Options, Tally
from worker.desk.restore import at_home
from worker.desk.restore import restore as bring_back
from worker.desk.rounds import forecast, send_again
from worker.desk.selection import AmbiguousError, named
from worker.desk.workplace import Workplace, workplace
from worker.screens import print_json

__all__ = ["app"]


@app.command()
def retry(
    words: Words = None,
    settings: SettingsFile = None,
    *,
    codes: Codes = None,
    classes: Classes = None,
    lanes: Lanes = None,
    of_groups: Groups = None,
    event_ids: EventIds = None,
    since: Since = None,
    everything: All = False,
    canary: Annotated[
        int, typer.Option(min=0, metavar="N", help="Send N first, and the rest if these do not fail as before.")
    ] = 0,
    rate: Annotated[
        float | None, typer.Option(parser=options.rate, metavar="N[/s|/m|/h]", help="At most so many a second.")
    ] = None,
    skip_expired: Annotated[
        bool,
        typer.Option(
            "--skip-expired",
            help="Leave what has expired where it is. It is never sent; without this it becomes `expired`.",
        ),
    ] = False,
    note: Note = "",
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send dead letters again, each only to those who did not get it yet."""
    chosen = options.choice(
        words,
        everything=everything,
        since=since,
        codes=codes,
        classes=classes,
        lanes=lanes,
        groups=of_groups,
        event_ids=event_ids,
    )
    how = Options(Redrive(by or options.login(), note), canary, rate or 0.0, skip_expired)
    exporter = exporters.export_traces(os.environ)
    try:
        _work(
            settings,
            lambda place: _retried(place, chosen, how, dry_run=dry_run, yes=yes),
            as_json=as_json,
        )
    finally:
        exporters.flush(exporter)


@app.command()
def discard(
    words: Words = None,
    settings: SettingsFile = None,
    *,
    reason: Annotated[str, typer.Option(parser=options.reason, metavar="TEXT", help="Why, for the history.")],
    codes: Codes = None,
    classes: Classes = None,
    lanes: Lanes = None,
    of_groups: Groups = None,
    event_ids: EventIds = None,
    since: Since = None,
    everything: All = False,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take dead letters out of their queues for good; `restore` brings them back while they are remembered."""
    chosen = options.choice(
        words,
        everything=everything,
        since=since,
        codes=codes,
        classes=classes,
        lanes=lanes,
        groups=of_groups,
        event_ids=event_ids,
    )
    _work(
        settings,
        lambda place: _discarded(
            place, chosen, by=by or options.login(), reason=reason, dry_run=dry_run, yes=yes
        ),
        as_json=as_json,
    )


@app.command()
def restore(
    words: Words = None,
    settings: SettingsFile = None,
    *,
    codes: Codes = None,
    classes: Classes = None,
    lanes: Lanes = None,
    of_groups: Groups = None,
    event_ids: EventIds = None,
    since: Since = None,
    everything: All = False,
    note: Note = "",
    by: By = "",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Bring back dead letters that were discarded, or taken away by another tool."""
    chosen = options.choice(
        words,
        everything=everything,
        since=since,
        codes=codes,
        classes=classes,
        lanes=lanes,
        groups=of_groups,
        event_ids=event_ids,
    )
    _work(
        settings,
        lambda place: _restored(place, chosen, by=by or options.login(), note=note, dry_run=dry_run),
        as_json=as_json,
    )


@app.command()
def edit(
    word: Annotated[str, typer.Argument(metavar="ID", help="Which one; the beginning will do.")],
    settings: SettingsFile = None,
    *,
    changes: Annotated[
        list[Change],
        typer.Option(
            "--set",
            parser=options.change,
            metavar="FIELD=VALUE",
            help="What to change, such as data.user.email=ann@example.org; again for more. A value that reads "
            "as JSON is that.",
        ),
    ],
    why: Annotated[str, typer.Option(parser=options.reason, metavar="TEXT", help="Why, for the history.")],
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Change fields of a dead letter's event; a new dead letter takes its place, to be sent with `retry`."""
    _work(
        settings,
        lambda place: _edited(
            place, word, changes, by=by or options.login(), why=why, dry_run=dry_run, yes=yes
        ),
        as_json=as_json,
    )


@app.command("import")
def import_letters(
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE|-", help="What `dead export` wrote.")],
    settings: SettingsFile = None,
    *,
    note: Note = "",
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put exported dead letters back, here or elsewhere, but those that are there or were sent again."""
    letters = list[Letter]()
    for number, line in enumerate(file, 1):
        try:
            letters += [ndjson.read(line)] if line.strip() else []
        except ValueError as error:
            refuse(f"Line {number}: {error}. Nothing was imported.")
    _work(
        settings,
        lambda place: _imported(place, letters, by=by or options.login(), note=note, dry_run=dry_run, yes=yes),
        as_json=as_json,
    )


async def _retried(place: Workplace, choice: Choice, how: Options, *, dry_run: bool, yes: bool) -> Report:
    letters = choice.among(await look(place.connection, place.prefix))
    if not letters:
        return reports.NOTHING
    if dry_run:
        return reports.forecast(letters, await forecast(place, letters, skip_expired=how.skip_expired))
    if not place.has_journal and (how.canary or not yes):
        raise reports.unsafe_to_retry(canary=bool(how.canary))
    done = 0

    def told(tally: Tally) -> None:
        nonlocal done
        done = tally.sent + tally.sent_before
        progress.at(tally.done)

    with Progress("sending again", len(letters)) as progress:
        place.reading = lambda: progress.at(0)
        try:
            tally = await send_again(place, letters, how, told)
        except (*BROKER_ERRORS, BrokerUnavailableError) as error:
            raise reports.broken_off(error, done, len(letters)) from error
    return reports.retried(letters, tally, how)


async def _discarded(
    place: Workplace, choice: Choice, *, by: str, reason: str, dry_run: bool, yes: bool
) -> Report:
    letters = choice.among(await look(place.connection, place.prefix))
    if not letters:
        return reports.NOTHING
    now = datetime.now(UTC)
    for_good = [letter for letter in letters if not (place.has_journal and is_kept(letter, now))]
    if for_good and not (yes or dry_run):
        raise reports.unsafe_to_discard(len(for_good), len(letters))
    if dry_run:
        return reports.discarded(letters, None)
    with Progress("discarding", len(letters)) as progress:
        count = await discard_letters(place, letters, by=by, reason=reason, told=progress.at)
    return reports.discarded(letters, count)


async def _restored(place: Workplace, choice: Choice, *, by: str, note: str, dry_run: bool) -> Report:
    if not place.has_journal:
        raise reports.unable_to_restore()
    present = [letter.id for letter in await look(place.connection, place.prefix)]
    with Progress("reading", None) as progress:
        before = await past(place, choice.may_mean, progress.at)
    letters = choice.among(list(before.letters.values()))
    if not letters:
        return reports.NOTHING_REMEMBERED
    with Progress("restoring", len(letters)) as progress:
        counts = await bring_back(
            place,
            letters,
            present=present,
            removed=before.removed,
            by=by,
            note=note,
            dry_run=dry_run,
            told=progress.at,
        )
    return reports.restored(letters, counts, dry_run=dry_run)


async def _imported(
    place: Workplace, letters: Sequence[Letter], *, by: str, note: str, dry_run: bool, yes: bool
) -> Report:
    if not (place.has_journal or yes):
        raise reports.unsafe_to_import()
    here = [at_home(letter, place.prefix) for letter in letters]
    present = [letter.id for letter in await look(place.connection, place.prefix)]
    before = await past(place, lambda _letter: False) if place.has_journal else None
    with Progress("importing", len(here)) as progress:
        counts = await bring_back(
            place,
            here,
            present=present,
            removed=before.removed if before else {},
            by=by,
            note=note,
            dry_run=dry_run,
            told=progress.at,
        )
    return reports.restored(here, counts, dry_run=dry_run) if here else reports.NOTHING


async def _edited(
    place: Workplace, word: str, changes: Sequence[Change], *, by: str, why: str, dry_run: bool, yes: bool
) -> Report:
    there = await look(place.connection, place.prefix)
    letters = named(word, there)
    if not letters:
        return reports.NOTHING
    if len({letter.id for letter in letters}) > 1:
        raise EditError(f"That names {len(letters)} letters: one is edited at a time, by its id.")
    if not (place.has_journal or yes):
        raise reports.unsafe_to_edit()
    if not (await forecast(place, letters[:1], skip_expired=False))[Fate.SEND]:
        raise EditError(
            "A command has sent it again, or was about to: dead retry finds out, and finishes that."
        )
    old = await body_of(place, letters[0])
    new = edited(old, changes, by=by, why=why, now=datetime.now(UTC))
    if not dry_run:
        await put_in_place(place, old, new, present={letter.id for letter in there}, by=by, why=why)
    return reports.edited(old, new, [str(change) for change in changes], dry_run=dry_run)


def _work(
    settings: Path | None, do: Callable[[Workplace], Coroutine[Any, Any, Report]], *, as_json: bool
) -> Never:
    """Prints the report that `do` returns, and ends the command with its exit code."""
    known = loaded(settings)

    async def at_the_desk() -> Report:
        async with workplace(broker_url(known), known.worker.prefix) as place:
            return await unless_lost(end_of(place.connection), do(place))

    try:
        report = at_the_broker(at_the_desk())
    except (DeskTakenError, AmbiguousError, UnsafeError, EditError) as error:
        refuse(str(error))
    if as_json:
        print_json(report.document)
    else:
        typer.echo(report.sentence)
    if report.following and not as_json:
        typer.echo(f"Next: {report.following}", err=True)
    raise typer.Exit(report.code)
