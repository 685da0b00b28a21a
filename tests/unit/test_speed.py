"""How long it takes to render a mail: told at the end of the run, and bounded as a busy machine keeps it."""

import time
from typing import Final

from tests.support import figures
from tests.support.examples import SCHEDULED, WORKFLOW, event_of, example
from worker.address import Mailbox
from worker.render import Renderer

ROUNDS: Final = 40
MAILS: Final = 50
BOUND_MICROSECONDS: Final = 250
"""The aim is 100 on a machine that does nothing else."""


def microseconds_a_mail(name: str) -> float:
    """The CPU time of one mail of an example, in the best of a few rounds."""
    renderer = Renderer(default_sender=Mailbox("Contensis", "no-reply@contensis.com"))
    event = event_of(example(name))
    addressee = renderer.addressees(event)[0]
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(MAILS):
            renderer.render(event, addressee)
        rounds.append(time.process_time() - began)
    return min(rounds) / MAILS * 1e6


def test_a_workflow_mail_is_rendered_in_a_fraction_of_a_millisecond() -> None:
    """Templates are compiled, and their styles put on, once and for all mails."""
    measured = [microseconds_a_mail(name) for name in (WORKFLOW, SCHEDULED)]
    figures.tell(
        f"a workflow mail is rendered in {' and '.join(f'{mail:.0f}' for mail in measured)} µs of CPU time"
    )
    assert max(measured) < BOUND_MICROSECONDS
