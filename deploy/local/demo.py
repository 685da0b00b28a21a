"""The main job on one machine: example events in, mails and dead letters out, and a look at what really came.

`python -m deploy.local.demo` exits with 0 if exactly the expected outcomes came and 4 if they differ; 1 where a
part did not start, 2 without RabbitMQ, 130 when it was interrupted. `--stay` keeps everything running until
Ctrl-C.
"""

import argparse
import asyncio
import os
import shlex
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.local import facts, report
from deploy.local.broker_view import BrokerView
from deploy.local.child import ChildError
from deploy.local.rabbitmq_programs import RabbitMQMissingError
from deploy.local.scenario import EXAMPLES, ROOT, Published, scenario
from deploy.local.stage import WORKER_PROGRAM, Stage, stage, step

AS_EXPECTED, NOT_STARTED, NO_RABBITMQ, DIFFERENT, INTERRUPTED = 0, 1, 2, 4, 130
OUTCOME_SECONDS = 60
POLL_SECONDS = 0.1


def main() -> None:
    """Run from the command line."""
    arguments, talk = _arguments(), Console(stderr=True)
    _end_in_good_order_when_told_to()
    try:
        sys.exit(run(talk, stay=arguments.stay, as_json=arguments.json))
    except KeyboardInterrupt:
        talk.print("Interrupted: everything is stopped.")
        sys.exit(INTERRUPTED)
    except (ChildError, RabbitMQMissingError) as error:
        talk.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(NO_RABBITMQ if isinstance(error, RabbitMQMissingError) else NOT_STARTED)


def run(talk: Console, *, stay: bool, as_json: bool) -> int:
    """The demo, from start to end; its exit code. Progress goes to `talk`, the result to stdout."""
    folder = _new_folder()
    with stage(folder, talk) as running:
        published = scenario(datetime.now(UTC))
        asyncio.run(_publish(running, published, talk))
        asyncio.run(_watch(running, published, talk))
        exit_codes = {} if stay else _stop_workers(running, talk)
        found = asyncio.run(facts.gather(running, exit_codes))
        differences = facts.differences(published, found)
        _print_result(found, differences, running.inbox.relative_to(ROOT), as_json=as_json)
        if stay:
            _stay(running, talk)
    return DIFFERENT if differences else AS_EXPECTED


async def _publish(running: Stage, published: list[Published], talk: Console) -> None:
    with step(talk, f"{len(published)} events published"):
        async with BrokerView.connect(running.broker_url) as view:
            for event in published:
                await view.publish(event.prefix, event.key, event.event_id, event.body)


async def _watch(running: Stage, published: list[Published], talk: Console) -> None:
    """Return when as many mails and dead letters have come as have to, or when the time is over."""
    total = sum(len(event.mails) + len(event.dead) for event in published)
    deadline, seen = time.monotonic() + OUTCOME_SECONDS, 0
    with _progress(talk) as progress:
        bar = progress.add_task("Mails and dead letters", total=total)
        async with BrokerView.connect(running.broker_url) as view:
            while seen < total and time.monotonic() < deadline:
                running.require_workers()
                seen = await facts.count(view, running)
                progress.update(bar, completed=seen)
                await asyncio.sleep(POLL_SECONDS)


def _stop_workers(running: Stage, talk: Console) -> dict[str, int]:
    # Only then is "nothing more will come" a fact: what a worker had begun is finished or back in its queue.
    with step(talk, "The workers have finished and stopped"):
        return running.stop_workers()


def _stay(running: Stage, talk: Console) -> None:
    """Say how to go on, and return at Ctrl-C. Raises ChildError when a worker ends."""
    example = EXAMPLES / "workflow-submit.json"
    talk.print(
        f"\nBroker:  {running.broker_url}\nMails:   {running.inbox}\nPublish: "
        f"NOTIFY_BROKER_URL={shlex.quote(running.broker_url)} {WORKER_PROGRAM} publish --fresh {example}\n"
        "Stop:    Ctrl-C",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    try:
        while True:
            running.require_workers()
            time.sleep(1)
    except KeyboardInterrupt:
        talk.print("Stopping …")


def _print_result(found: facts.Facts, differences: list[str], inbox: Path, *, as_json: bool) -> None:
    if as_json:
        print(report.as_json(found, differences, inbox))
    else:
        report.show(found, differences, inbox)


def _progress(talk: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=talk)


def _new_folder() -> Path:
    """A folder of this run, so that an earlier run's mails can still be read and two runs do not meet."""
    folder = ROOT / "var" / "demo" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


def _end_in_good_order_when_told_to() -> None:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does.

    Ctrl-C itself is ignored in a process that a script started in the background, so it is asked for too.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.demo", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--stay", action="store_true", help="keep everything running until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON document")
    return parser.parse_args()


if __name__ == "__main__":
    main()
