"""`dead retry|discard`: what changes dead letters. Arguments and printing only."""

import getpass
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Never

import typer

from worker import telemetry
from worker.commands import dead_reports as reports
from worker.commands.dead import app
from worker.commands.dead_reports import Report, UnsafeError
from worker.commands.progress import Progress
from worker.commands.shell import Json, SettingsFile, at_the_broker, broker_url, loaded, refuse
from worker.delivery import LONGEST_NOTE
from worker.desk.case import Redrive
from worker.desk.choice import Choice, NothingNamedError
from worker.desk.discard import discard as discard_letters
from worker.desk.discard import is_kept
from worker.desk.holding import DeskTakenError, look
from worker.desk.redrive import Options
from worker.desk.rounds import forecast, send_again
from worker.desk.selection import AmbiguousError, Filter, moment
from worker.desk.workplace import Workplace, workplace
from worker.screens import print_json

__all__ = ["app"]


def _rate(text: str) -> float:
    number, _, unit = text.partition("/")
    seconds = {"": 1, "s": 1, "m": 60, "h": 3600}.get(unit.strip())
    try:
        rate = float(number) / (seconds or 0)
    except (ValueError, ZeroDivisionError):
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise typer.BadParameter("write how many a second, a minute or an hour: 5, 5/s, 100/m")
    return rate


def _since(text: str) -> datetime:
    try:
        return moment(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _remark(text: str) -> str:
    text = " ".join(text.split())
    if len(text) > LONGEST_NOTE:
        raise typer.BadParameter(f"write {LONGEST_NOTE} characters at most")
    return text


def _reason(text: str) -> str:
    if not text.split():
        raise typer.BadParameter("write why")
    return _remark(text)


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID|GROUP|CODE]...", help="Which ones, by id, group or code; the beginning will do."
    ),
]
Codes = Annotated[list[str] | None, typer.Option("--code", metavar="CODE", help="Only this code.")]
Classes = Annotated[list[str] | None, typer.Option("--class", metavar="CLASS", help="Only this class.")]
Lanes = Annotated[list[str] | None, typer.Option("--lane", metavar="LANE", help="Only urgent or standard.")]
Events = Annotated[list[str] | None, typer.Option("--event", metavar="ID", help="Only of this event.")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=_since, metavar="AGO|TIME", help="Only what died since then, such as 2h."),
]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does it.", show_default="the login")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it although it is not safe here.")]


@app.command()
def retry(
    words: Words = None,
    settings: SettingsFile = None,
    *,
    codes: Codes = None,
    classes: Classes = None,
    lanes: Lanes = None,
    events: Events = None,
    since: Since = None,
    everything: All = False,
    canary: Annotated[
        int, typer.Option(min=0, metavar="N", help="Send N first, and the rest if these do not fail as before.")
    ] = 0,
    rate: Annotated[
        float | None, typer.Option(parser=_rate, metavar="N[/s|/m|/h]", help="At most so many a second.")
    ] = None,
    skip_expired: Annotated[
        bool,
        typer.Option(
            "--skip-expired",
            help="Leave what has expired where it is. It is never sent; without this it becomes `expired`.",
        ),
    ] = False,
    note: Annotated[str, typer.Option(parser=_remark, metavar="TEXT", help="Why, for the history.")] = "",
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send dead letters again, each only to those who did not get it yet."""
    choice = _choice(
        words,
        everything=everything,
        since=since,
        codes=codes,
        classes=classes,
        lanes=lanes,
        event_ids=events,
    )
    options = Options(Redrive(by or _login(), note), canary, rate or 0.0, skip_expired)
    exporter = telemetry.export_traces(os.environ)
    try:
        _work(
            settings,
            lambda place: _retried(place, choice, options, dry_run=dry_run, yes=yes),
            as_json=as_json,
        )
    finally:
        telemetry.flush(exporter)


@app.command()
def discard(
    words: Words = None,
    settings: SettingsFile = None,
    *,
    reason: Annotated[str, typer.Option(parser=_reason, metavar="TEXT", help="Why, for the history.")],
    codes: Codes = None,
    classes: Classes = None,
    lanes: Lanes = None,
    events: Events = None,
    since: Since = None,
    everything: All = False,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take dead letters out of their queues for good; `restore` brings them back while they are remembered."""
    choice = _choice(
        words,
        everything=everything,
        since=since,
        codes=codes,
        classes=classes,
        lanes=lanes,
        event_ids=events,
    )
    _work(
        settings,
        lambda place: _discarded(place, choice, by=by or _login(), reason=reason, dry_run=dry_run, yes=yes),
        as_json=as_json,
    )


async def _retried(place: Workplace, choice: Choice, options: Options, *, dry_run: bool, yes: bool) -> Report:
    letters = choice.among(await look(place.connection, place.prefix))
    if not letters:
        return reports.NOTHING
    if dry_run:
        return reports.forecast(letters, await forecast(place, letters, skip_expired=options.skip_expired))
    if not place.has_journal and (options.canary or not yes):
        raise reports.unsafe_to_retry(canary=bool(options.canary))
    with Progress("sending again", len(letters)) as progress:
        tally = await send_again(place, letters, options, lambda tally: progress.at(tally.done))
    return reports.retried(letters, tally, options)


async def _discarded(
    place: Workplace, choice: Choice, *, by: str, reason: str, dry_run: bool, yes: bool
) -> Report:
    letters = choice.among(await look(place.connection, place.prefix))
    if not letters:
        return reports.NOTHING
    for_good = [letter for letter in letters if not (place.has_journal and is_kept(letter))]
    if for_good and not (yes or dry_run):
        raise reports.unsafe_to_discard(len(for_good), len(letters))
    if dry_run:
        return reports.discarded(letters, None)
    with Progress("discarding", len(letters)) as progress:
        count = await discard_letters(place, letters, by=by, reason=reason, told=progress.at)
    return reports.discarded(letters, count)


def _choice(
    words: list[str] | None,
    *,
    everything: bool,
    since: datetime | None,
    **fields: list[str] | None,
) -> Choice:
    wanted = Filter(since=since, **{name: frozenset(values or ()) for name, values in fields.items()})
    try:
        return Choice(tuple(words or ()), wanted, everything)
    except NothingNamedError as error:
        refuse(str(error), f"To see what there is: {reports.SEE}")


def _work(settings: Path | None, do: Callable[[Workplace], Awaitable[Report]], *, as_json: bool) -> Never:
    """Prints the report that `do` returns, and ends the command with its exit code."""
    known = loaded(settings)

    async def at_the_desk() -> Report:
        async with workplace(broker_url(known), known.worker.prefix) as place:
            return await do(place)

    try:
        report = at_the_broker(at_the_desk())
    except (DeskTakenError, AmbiguousError, UnsafeError) as error:
        refuse(str(error))
    if as_json:
        print_json(report.document)
    else:
        typer.echo(report.sentence)
    if report.following and not as_json:
        typer.echo(f"Next: {report.following}", err=True)
    raise typer.Exit(report.code)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
