"""What every command does with its arguments, and how it ends: settings are read, work is run, errors are said.

Exit codes: 0 done, 1 nothing matched or a check failed, 2 bad settings, usage or refused, 3 broker unreachable.
"""

import asyncio
import os
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Never, TypeVar

import typer

from worker.broker import BrokerRefusedError, BrokerUnavailableError
from worker.desk.selection import moment
from worker.settings import Settings, SettingsError, load

NOTHING_MATCHED: Final = 1
REFUSED: Final = 2
UNREACHABLE: Final = 3

T = TypeVar("T")

SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings", metavar="FILE", help="Settings file.", show_default="the one NOTIFY_SETTINGS_FILE names"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]


def loaded(file: Path | None) -> Settings:
    """The settings; ends the command with every fault of theirs."""
    try:
        return load(os.environ, file)
    except SettingsError as error:
        refuse("The settings cannot be read:", *error.faults)


def since(text: str) -> datetime:
    """The moment that an option means: so long ago, or a time. Raises BadParameter."""
    try:
        return moment(text, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def broker_url(settings: Settings) -> str:
    """Where the broker is, password included."""
    return settings.worker.broker_url.get_secret_value()


def complete(work: Coroutine[None, None, T]) -> T:
    """What `work` returns, run in an event loop of its own."""
    with asyncio.Runner(loop_factory=_new_event_loop) as runner:
        return runner.run(work)


def at_the_broker(work: Coroutine[None, None, T]) -> T:
    """What `work` returns; ends the command where the broker refuses (2) or cannot be reached (3)."""
    try:
        return complete(work)
    except BrokerRefusedError as error:
        refuse(str(error))
    except BrokerUnavailableError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(UNREACHABLE) from None


def refuse(*sentences: str) -> Never:
    """Says why, and ends the command."""
    for sentence in sentences:
        typer.echo(sentence, err=True)
    raise typer.Exit(REFUSED)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - not installed on Windows

    return uvloop.new_event_loop()
