"""`doctor`: arguments and printing only."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

from worker import doctor, screens
from worker.check import check, unreadable
from worker.commands.shell import UNREACHABLE, Json, SettingsFile, broker_url, complete
from worker.findings import Finding, not_reached
from worker.sender.lookup import Server
from worker.settings import SettingsError, load, settings_revision

NEXT: Final = {
    0: "To follow one mail: notify-worker whereis ID",
    UNREACHABLE: "The broker was not looked at; once it can be reached: notify-worker doctor",
}
"""Exit code -> what to do next; of all others each finding says it."""


def web_address(text: str) -> str:
    """`text`, where it is a web address. Raises typer.BadParameter."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise typer.BadParameter("write an http:// or https:// URL, such as http://localhost:15672")
    return text


def dns_server(text: str) -> Server:
    """The DNS server that `text` names. Raises typer.BadParameter."""
    try:
        return Server.parse(text)
    except ValueError:
        raise typer.BadParameter("write an IP address, with a port if it is not 53: 192.0.2.1:5353") from None


Resolver = Annotated[
    Server | None,
    typer.Option(
        parser=dns_server,
        metavar="IP[:PORT]",
        help="DNS server to ask about SPF and DMARC.",
        show_default="the system's",
    ),
]


def command(
    settings: SettingsFile = None,
    *,
    management: Annotated[
        str | None,
        typer.Option(
            "--management",
            parser=web_address,
            metavar="URL",
            help="RabbitMQ's management API, such as http://localhost:15672.",
            show_default="port 15672 of the broker's host",
        ),
    ] = None,
    resolver: Resolver = None,
    as_json: Json = False,
) -> None:
    """Look at the broker and all queues, then do what `check` does; exit code 1 if something is wrong."""
    findings = complete(screens.print_findings(_findings(settings, management, resolver), as_json=as_json))
    code = doctor.exit_code(findings)
    if code in NEXT:
        typer.echo(NEXT[code], err=True)
    raise typer.Exit(code)


async def _findings(
    file: Path | None, management: str | None, resolver: Server | None
) -> AsyncIterator[Finding]:
    try:
        known = load(os.environ, file)
    except SettingsError as error:
        for finding in not_reached(doctor.STEPS):
            yield finding
        async for finding in unreadable(error):
            yield finding
        return
    looked = doctor.look(broker_url(known), known.worker.prefix, settings_revision(known), management)
    async for finding in looked:
        yield finding
    async for finding in check(known, resolver=resolver):
        yield finding
