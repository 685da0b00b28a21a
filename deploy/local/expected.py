"""What an event has to lead to, worked out from the event and the contract alone, not by asking the worker."""

from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parseaddr

from contracts.dead_letter import ABOUT, Reason
from contracts.events import Event, FormEvent, PasswordResetEvent

WELSH, ENGLISH = "cy", "en-GB"


@dataclass(frozen=True, slots=True, order=True)
class Mail:
    """A mail in somebody's inbox: the bare address and the language it is written in."""

    to: str
    language: str

    def __str__(self) -> str:
        return f"a mail to {self.to} in {self.language or 'no language'}"


@dataclass(frozen=True, slots=True, order=True)
class DeadLetter:
    """A dead letter as operators see it: class, code and sentence."""

    dead_class: str
    code: str
    text: str

    def __str__(self) -> str:
        return f"a dead letter {self.dead_class}/{self.code} ({self.text})"


def mails(event: Event) -> list[Mail]:
    """One mail for each wanted recipient, in that person's language."""
    return [Mail(address, _language(languages)) for address, languages in _readers(event)]


def dead_letter(reason: Reason) -> DeadLetter:
    """The dead letter with this code."""
    about = ABOUT[reason]
    return DeadLetter(about.dead_class, reason, about.text)


def _readers(event: Event) -> Iterable[tuple[str, tuple[str | None, ...]]]:
    if isinstance(event, PasswordResetEvent):
        return [(event.data.user.email, (event.data.user.language,))]
    project = event.data.project.primary_language if event.data.project else None
    resource = event.data.resource.language if event.data.resource else None
    if isinstance(event, FormEvent):
        return [
            (parseaddr(to)[1], (email.language, resource, project))
            for email in event.data.emails
            for to in dict.fromkeys(email.to)
        ]
    return [(r.email, (r.language, resource, project)) for r in event.data.recipients if r.wants_email]


def _language(wanted: tuple[str | None, ...]) -> str:
    """The first of the wanted languages that there are mails in."""
    spoken = {"cy": WELSH, "en": ENGLISH}
    families = ((tag or "").partition("-")[0].lower() for tag in wanted)
    return next((spoken[family] for family in families if family in spoken), ENGLISH)
