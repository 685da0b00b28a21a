"""How one mail ended: a closed set. An event's outcome is the list of its mails'."""

from dataclasses import dataclass
from typing import Literal

from worker.errors import PermanentError, TransientError


@dataclass(frozen=True, slots=True)
class Delivered:
    """The server accepted it; `reply` is what it said."""

    reply: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """It was not to be sent: the person opted out, or has it already."""

    why: Literal["opted-out", "duplicate"]


@dataclass(frozen=True, slots=True)
class Retry:
    """It is the message's own, passing trouble; an attempt is counted."""

    error: TransientError


@dataclass(frozen=True, slots=True)
class Dead:
    """It cannot be sent; an operator has to see why."""

    error: PermanentError | TransientError


@dataclass(frozen=True, slots=True)
class Interrupted:
    """It was not tried to the end, through no fault of its own; no attempt is counted.

    `error` is what the server's trouble was, if it was met with this mail.
    """

    why: Literal["server", "drain", "budget"]
    error: TransientError | None = None


Outcome = Delivered | Suppressed | Retry | Dead | Interrupted
