"""The arguments of the commands that change dead letters: which ones, by whom, why, and how carefully."""

import getpass
from datetime import datetime
from typing import Annotated, Final

import typer

from worker.commands.dead_reports import SEE
from worker.commands.shell import refuse
from worker.delivery import LONGEST_NOTE
from worker.desk.choice import Choice, NothingNamedError
from worker.desk.edit import Change
from worker.desk.selection import Filter

SLOWEST: Final = 12 / 3600
"""Letters are held meanwhile, and the broker takes away what is held for half an hour."""


def rate(text: str) -> float:
    """How many a second. Raises BadParameter."""
    number, _, unit = text.partition("/")
    seconds = {"": 1, "s": 1, "m": 60, "h": 3600}.get(unit.strip())
    try:
        each_second = float(number) / (seconds or 0)
    except (ValueError, ZeroDivisionError):
        each_second = 0.0
    if not SLOWEST <= each_second < float("inf"):
        raise typer.BadParameter("write how many a second, a minute or an hour: 5, 5/s, 100/m, 12/h at least")
    return each_second


def remark(text: str) -> str:
    """A remark on one line. Raises BadParameter."""
    text = " ".join(text.split())
    if len(text) > LONGEST_NOTE:
        raise typer.BadParameter(f"write {LONGEST_NOTE} characters at most")
    return text


def reason(text: str) -> str:
    """A remark that is not empty. Raises BadParameter."""
    if not text.split():
        raise typer.BadParameter("write why")
    return remark(text)


def change(text: str) -> Change:
    """What `--set` says. Raises BadParameter."""
    try:
        return Change.read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID|GROUP|CODE]...", help="Which ones, by id, group or code; the beginning will do."
    ),
]
All = Annotated[bool, typer.Option("--all", help="All there are.")]
Note = Annotated[str, typer.Option(parser=remark, metavar="TEXT", help="Why, for the history.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does it.", show_default="the login")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it although it is not safe here.")]


def choice(
    words: list[str] | None, *, everything: bool, since: datetime | None, **fields: list[str] | None
) -> Choice:
    """The letters that are meant; `fields` are those of `Filter`. Ends the command where nothing is named."""
    wanted = Filter.of(since=since, **fields)
    try:
        return Choice(tuple(words or ()), wanted, everything)
    except NothingNamedError as error:
        refuse(str(error), f"To see what there is: {SEE}")


def login() -> str:
    """Who is at the keyboard, as far as the system knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
