"""The command line: arguments and printing only. Data goes to stdout, talk and logs to stderr.

Exit codes: 0 done, 1 a check failed, 2 bad settings, usage or refused, 3 broker unreachable.
"""

import os
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Annotated, Never

import typer

from contracts import definitions
from worker import __version__, exporters, preview, probe, screens, service, survey, telemetry
from worker.address import AddressError, Mailbox, parse_mailbox
from worker.broker import BrokerRefusedError, BrokerUnavailableError, virtual_host
from worker.check import check, unreadable
from worker.commands import dead_changes, doctor, whereis
from worker.commands.shell import (
    REFUSED,
    UNREACHABLE,
    Json,
    SettingsFile,
    broker_url,
    complete,
    loaded,
    refuse,
)
from worker.declare import NotDeclaredError, TopologyDiffersError
from worker.errors import PermanentError
from worker.findings import Finding, exit_code
from worker.publish import checked, renewed
from worker.publish import publish as publish_event
from worker.revision import renderer
from worker.send_test import send_test
from worker.settings import Settings, SettingsError, Source, load, rows
from worker.template_files import TemplatesError

app = typer.Typer(
    name="notify-worker",
    help="Turns a Contensis CMS's events on RabbitMQ into mail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

topology_app = typer.Typer(help="The exchanges, queues and bindings at the broker.", no_args_is_help=True)
app.add_typer(topology_app, name="topology")
app.command("whereis")(whereis.command)
app.command("doctor")(doctor.command)
app.add_typer(dead_changes.app, name="dead")


def _mailbox(text: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None


From = Annotated[
    Mailbox | None,
    typer.Option(
        "--from",
        parser=_mailbox,
        metavar="ADDRESS",
        help="From address.",
        show_default="that of mails whose event names none",
    ),
]

ManagementUrl = Annotated[
    str | None,
    typer.Option(
        "--management",
        parser=doctor.web_address,
        metavar="URL",
        help="RabbitMQ's management API, such as http://localhost:15672, to see bindings too.",
        show_default="bindings are not seen",
    ),
]


@app.command()
def run(settings: SettingsFile = None) -> None:
    """Consume events and send their mail until told to stop (SIGTERM or Ctrl-C; twice to force)."""
    known = loaded(settings)
    telemetry.log_to(sys.stderr)
    scrape = exporters.Scrape() if known.worker.health_address else None
    exporting = exporters.export_traces(os.environ), exporters.export_metrics(os.environ, scrape)
    try:
        complete(service.run(known, Source(os.environ, settings), scrape))
    except (BrokerRefusedError, NotDeclaredError) as error:
        refuse(str(error))
    except TemplatesError as error:
        _refuse_templates(error)
    except TopologyDiffersError as error:
        refuse(
            "The broker has queues or exchanges that differ from what the worker needs:",
            *error.differences,
            "Delete them when they are empty, or set NOTIFY_PREFIX to another prefix.",
        )
    finally:
        exporters.flush(*exporting)


@app.command()
def health(
    settings: SettingsFile = None,
    *,
    ready: Annotated[
        bool, typer.Option("--ready", help="Ask whether it is ready, not whether it lives.")
    ] = False,
) -> None:
    """Ask the worker that runs here, at NOTIFY_HEALTH_ADDRESS, how it is; exit code 1 if it is not well."""
    well, sentence = probe.ask(loaded(settings).worker.health_address, ready=ready)
    typer.echo(sentence)
    raise typer.Exit(int(not well))


@app.command("settings")
def show_settings(settings: SettingsFile = None, *, as_json: Json = False) -> None:
    """Show every setting: its effective value, where it came from; secrets are masked."""
    known = loaded(settings)
    for sentence in known.warnings:
        typer.echo(sentence, err=True)
    screens.print_settings(rows(known), as_json=as_json)


@app.command("check")
def check_settings(
    settings: SettingsFile = None,
    *,
    sender: From = None,
    resolver: doctor.Resolver = None,
    as_json: Json = False,
) -> None:
    """Try the way to the mail server step by step, without sending mail; exit code 1 if a step fails."""
    findings = _print(settings, lambda known: check(known, sender=sender, resolver=resolver), as_json=as_json)
    _say_next("To send one mail: notify-worker send-test --to ADDRESS", findings, after=0)


@app.command("send-test")
def send_test_mail(
    settings: SettingsFile = None,
    *,
    to: Annotated[Mailbox, typer.Option(parser=_mailbox, metavar="ADDRESS", help="Whom to send it to.")],
    sender: From = None,
    as_json: Json = False,
) -> None:
    """Send one test mail, and print what the mail server says; exit code 1 if it cannot be sent."""
    findings = _print(settings, lambda known: send_test(known, to, sender), as_json=as_json)
    _say_next("To see each step on the way: notify-worker check", findings, after=1)


@app.command("preview")
def preview_mails(
    what: Annotated[
        str,
        typer.Argument(metavar="[FAMILY|MAIL|FILE|-]", help="Which mails.", show_default="every mail there is"),
    ] = "",
    settings: SettingsFile = None,
    *,
    lang: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Language; again for more.", show_default="every one"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to.", show_default="a new temporary folder")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Show them in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Write mails to files, text beside HTML, as a phone and as a desktop shows them; nothing is sent.

    FAMILY is workflow, form, password-reset or system, MAIL one of its mails, such as workflow/submit: both are
    shown as example events lead to them. FILE is an event as JSON. Exit code 1 if a mail cannot be made.
    """
    known = loaded(settings)
    try:
        previews = preview.chosen(what, renderer(known), lang or ())
        folder = out or Path(tempfile.mkdtemp(prefix="notify-preview-"))
        shown = preview.save(previews, folder)
    except TemplatesError as error:
        _refuse_templates(error)
    except (ValueError, OSError, PermanentError) as error:
        refuse(str(error))
    screens.print_previews(shown, folder, as_json=as_json)
    index = (folder / preview.INDEX).resolve()
    if not (open_it and webbrowser.open(index.as_uri())):
        typer.echo(f"To look at them, open {index} in a browser.", err=True)
    raise typer.Exit(not all(item.files for item in shown))


@app.command()
def publish(
    file: Annotated[typer.FileBinaryRead, typer.Argument(metavar="FILE|-", help="An event as JSON.")],
    settings: SettingsFile = None,
    *,
    key: Annotated[str, typer.Option(help="Routing key.", show_default="the event's own")] = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="Publish it even if it is not valid; needs --key.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Give it a new id and shift all its times so that it is of now.")
    ] = False,
) -> None:
    """Publish one event, for trying out."""
    known = loaded(settings)
    telemetry.log_to(sys.stderr)
    body = file.read()
    try:
        body = renewed(body) if fresh else body
        key = key or checked(body).routing_key()
        if not raw:
            checked(body)
    except PermanentError as error:
        refuse(str(error), "Nothing was published. To publish it all the same: --raw --key KEY")
    try:
        complete(publish_event(broker_url(known), known.worker.prefix, body, key=key))
    except (BrokerRefusedError, ValueError) as error:
        refuse(str(error))
    except BrokerUnavailableError as error:
        typer.echo(f"The broker did not take it. {error}", err=True)
        typer.echo("Is NOTIFY_BROKER_URL right, and has a worker declared its exchanges by starting?", err=True)
        raise typer.Exit(UNREACHABLE) from None
    typer.echo(f"published with key {key}", err=True)


@topology_app.command("check")
def check_topology(
    settings: SettingsFile = None, *, management: ManagementUrl = None, as_json: Json = False
) -> None:
    """Compare what the broker has with what the worker needs; declares nothing; exit code 1 on a difference."""
    found = _at_the_broker(loaded(settings), management, apply=False)
    screens.print_topology(found, as_json=as_json)
    raise typer.Exit(int(any(it.wrong for it in found)))


@topology_app.command("apply")
def apply_topology(
    settings: SettingsFile = None, *, management: ManagementUrl = None, as_json: Json = False
) -> None:
    """Declare what the broker lacks, and say so; where something differs, nothing, and the exit code is 2."""
    found = _at_the_broker(loaded(settings), management, apply=True)
    screens.print_topology(found, as_json=as_json)
    if any(it.state in survey.NOT_DECLARED for it in found):
        raise typer.Exit(REFUSED)


@topology_app.command("definitions")
def print_definitions(settings: SettingsFile = None) -> None:
    """Print it all, with the permissions of three users, as a file for `rabbitmqctl import_definitions`."""
    known = loaded(settings)
    sys.stdout.write(definitions.text(known.worker.prefix, virtual_host(broker_url(known))))


@app.callback(invoke_without_command=True)
def version(*, show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Turns a Contensis CMS's events on RabbitMQ into mail."""
    if show:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """The console script."""
    app()


def _refuse_templates(error: TemplatesError) -> Never:
    refuse(
        "No mail can be made with these templates in NOTIFY_TEMPLATES_DIR:",
        *map(str, error.faults),
        "Correct them; with NOTIFY_TEMPLATES_FALLBACK=true the worker starts with its own in their place.",
    )


def _at_the_broker(settings: Settings, management: str | None, *, apply: bool) -> list[survey.Found]:
    url, wanted = broker_url(settings), definitions.whole_topology(settings.worker.prefix)
    try:
        return complete(survey.at_the_broker(url, wanted, management, mend=apply))
    except (BrokerRefusedError, NotDeclaredError) as error:
        refuse(str(error))
    except BrokerUnavailableError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(UNREACHABLE) from None


def _print(
    file: Path | None, make: Callable[[Settings], AsyncIterable[Finding]], *, as_json: bool
) -> list[Finding]:
    try:
        findings = make(load(os.environ, file))
    except SettingsError as error:
        findings = unreadable(error)
    return complete(screens.print_findings(findings, as_json=as_json))


def _say_next(sentence: str, findings: list[Finding], *, after: int) -> None:
    """The next useful command, where the exit code is `after`; ends with the exit code."""
    code = exit_code(findings)
    if code == after:
        typer.echo(sentence, err=True)
    raise typer.Exit(code)
