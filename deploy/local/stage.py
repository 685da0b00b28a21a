"""What the demo runs: a private RabbitMQ, an SMTP inbox and two workers, each a process of its own."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from contracts.signals import Action, LogField
from contracts.topology import DEFAULT_PREFIX
from deploy.local.child import Child
from deploy.local.rabbitmq import PrivateRabbitMQ, free_ports
from deploy.local.scenario import OAUTH2_PREFIX, ROOT

WORKER_PROGRAM = Path(sys.executable).with_name("notify-worker")
_READY_SECONDS = 60
_SETTINGS = ("emailsmtp", "notify_")
# Everything OAuth2 needs but an encrypted connection, as somebody leaves it who forgot EmailSmtpUseSSL.
_OAUTH2_WITHOUT_TLS = {
    "EmailSmtpUseOAuth2": "true",
    "EmailSmtpOAuth2AzureTenantId": "00000000-0000-0000-0000-000000000000",
    "EmailSmtpOAuth2ClientId": "11111111-1111-1111-1111-111111111111",
    "EmailSmtpOAuth2ClientSecret": "not-a-real-secret",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """The running parts: where the broker is, where mails arrive, and a worker for each prefix."""

    broker_url: str
    inbox: Path
    workers: dict[str, Child]

    def require_workers(self) -> None:
        """Raise ChildError when a worker has ended."""
        for worker in self.workers.values():
            worker.require_running()

    def stop_workers(self) -> dict[str, int]:
        """Let the workers finish what they have begun; the exit code of each, by prefix."""
        return {prefix: worker.stop() for prefix, worker in self.workers.items()}


@contextmanager
def stage(folder: Path, console: Console) -> Iterator[Stage]:
    """Everything started and ready; ended, whatever happens, on leaving.

    Raises RabbitMQMissingError, and ChildError where a part does not become ready.
    """
    port, inbox, workers = free_ports(1)[0], folder / "inbox", {}
    with ExitStack() as running:
        with step(console, "A private RabbitMQ"):
            broker = running.enter_context(PrivateRabbitMQ(folder / "broker"))
        with step(console, "An SMTP inbox"):
            server = running.enter_context(_inbox(folder, port, inbox))
            server.wait_until(lambda: "ready" in server.output, _READY_SECONDS)
        for prefix, settings in ((DEFAULT_PREFIX, {}), (OAUTH2_PREFIX, _OAUTH2_WITHOUT_TLS)):
            with step(console, f"A worker for {prefix}"):
                worker = running.enter_context(_worker(folder, prefix, broker.url, port, settings))
                worker.wait_until(partial(_says_ready, worker), _READY_SECONDS)
            workers[prefix] = worker
        yield Stage(broker.url, inbox, workers)


@contextmanager
def step(console: Console, what: str) -> Iterator[None]:
    """Say what is going on, and how long it took."""
    began = time.monotonic()
    with console.status(f"{what} …"):
        yield
    console.print(f"[green]✓[/] {what} [dim]({time.monotonic() - began:.1f} s)[/]", highlight=False)


def _inbox(folder: Path, port: int, mails: Path) -> Child:
    command = [sys.executable, "-m", "deploy.local.inbox", "--port", str(port), "--folder", str(mails)]
    return Child("The SMTP inbox", command, log=folder / "inbox.log", env=os.environ, cwd=ROOT)


def _worker(folder: Path, prefix: str, broker_url: str, smtp_port: int, settings: Mapping[str, str]) -> Child:
    """A worker with these settings and no others, whatever this process was given."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().startswith(_SETTINGS)}
    environment |= {
        "NOTIFY_BROKER_URL": broker_url,
        "NOTIFY_PREFIX": prefix,
        "EmailSMTPHost": "127.0.0.1",
        "EmailSmtpPort": str(smtp_port),
        "NOTIFY_HEALTH_ADDRESS": "",  # two workers, and whatever else the machine serves
        **settings,
    }
    log = folder / f"worker-{prefix}.log"
    return Child(f"The worker for {prefix}", [str(WORKER_PROGRAM), "run"], log=log, env=environment, cwd=ROOT)


def _says_ready(worker: Child) -> bool:
    return any(_action(line) == Action.READY for line in worker.output.splitlines())


def _action(line: str) -> object:
    try:
        return json.loads(line)[LogField.ACTION]
    except (ValueError, KeyError, TypeError):  # not a line of the worker's log, or only half of one yet
        return None
