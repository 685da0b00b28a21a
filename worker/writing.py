"""What is written to one addressee: the event's values put into the templates of their mail."""

from dataclasses import dataclass
from typing import Final

from contracts.events import Event
from worker.address import one_line
from worker.addressees import Addressee
from worker.contents import Values, contents
from worker.stationery import Stationery

BETWEEN_SUBJECTS: Final = " | "


@dataclass(frozen=True, slots=True)
class Text:
    """A mail as people read it."""

    subject: str
    text: str
    html: str


def write(event: Event, addressee: Addressee, stationery: Stationery) -> Text:
    """The mail to `addressee`, in each of their languages in turn. Raises PermanentError (template)."""
    folder, languages = addressee.variant, addressee.languages
    parts = [contents(event, addressee, language, stationery) for language in languages]
    subjects = [one_line(stationery.render(f"{folder}/subject.txt", values)) for values in parts]
    subject = BETWEEN_SUBJECTS.join(dict.fromkeys(subjects))
    for values in parts:
        values["subject"] = subject
    if len(parts) > 1:
        _join(parts, languages, stationery)
    return Text(
        subject,
        "".join([stationery.render(f"{folder}/body.txt", values) for values in parts]),
        "".join([stationery.render(f"{folder}/body.html", values) for values in parts]),
    )


def _join(parts: list[Values], languages: tuple[str, ...], stationery: Stationery) -> None:
    """One mail of several: only the first opens it, and says what follows, and only the last closes it."""
    for values in parts[1:]:
        values["opens"] = False
    for values in parts[:-1]:
        values["closes"] = False
    parts[0]["also"] = [
        (language, stationery.wordings[language].say({}, "bilingual.below")) for language in languages[1:]
    ]
