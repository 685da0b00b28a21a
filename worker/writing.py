"""What is written to one addressee: the event's values put into the templates of their mail."""

from dataclasses import dataclass

from contracts.events import Event
from worker.address import one_line
from worker.addressees import Addressee
from worker.contents import contents
from worker.stationery import Stationery


@dataclass(frozen=True, slots=True)
class Text:
    """A mail as people read it."""

    subject: str
    text: str
    html: str


def write(event: Event, addressee: Addressee, stationery: Stationery) -> Text:
    """The mail to `addressee`. Raises PermanentError (template)."""
    values = contents(event, addressee, stationery)
    subject = one_line(stationery.render(f"{addressee.variant}/subject.txt", values))
    values["subject"] = subject
    return Text(
        subject,
        stationery.render(f"{addressee.variant}/body.txt", values),
        stationery.render(f"{addressee.variant}/body.html", values),
    )
