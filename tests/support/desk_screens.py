"""The desk's screens at 100 columns, for documents: `python -m tests.support.desk_screens` prints them."""

import sys
from collections.abc import Iterator

from contracts.dead_letter import Reason
from contracts.topology import Lane, dead_queue_of
from tests.support.dead_letters import dead_message, key_of
from worker.commands.dead_screens import as_text, explain_lines, group_lines
from worker.desk.groups import grouped
from worker.desk.letter import Letter, Properties

WIDTH = 100
SETTINGS_REV = "99ef01aa55cc"


def letter(reason: Reason, number: int = 0, *, lane: Lane = Lane.STANDARD, detail: str = "") -> Letter:
    """The letter that a worker's message is."""
    message = dead_message(reason, number, lane=lane, detail=detail)
    key = key_of(reason)
    queue = dead_queue_of(key.partition(".")[0])
    return Letter.read(queue, key, message.headers, message.body, Properties())


def letters() -> Iterator[Letter]:
    """What lies there after a bad morning."""
    for number in range(212):
        yield letter(Reason.OAUTH2_REQUIRES_TLS, number * 12, lane=Lane.STANDARD if number > 2 else Lane.URGENT)
    for number in range(9):
        yield letter(Reason.RECIPIENT_REFUSED, number * 60, detail="RCPT: 550 5.1.1 No such user")
    yield letter(Reason.INVALID_DATA, 100, detail="data.recipients.0.email: Field required")


def dead_screen() -> str:
    """`notify-worker dead`."""
    return as_text(group_lines(grouped(letters(), SETTINGS_REV), WIDTH))


def explain_screen() -> str:
    """`notify-worker dead explain recipient-refused`."""
    members = [one for one in letters() if one.code == Reason.RECIPIENT_REFUSED]
    return as_text(explain_lines(grouped(members, SETTINGS_REV)[0], members, WIDTH))


if __name__ == "__main__":
    sys.stdout.write(f"{dead_screen()}\n{explain_screen()}")
