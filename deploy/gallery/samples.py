"""The mails to look at: each there is in each language, two languages in one, and one from right to left."""

from collections.abc import Iterable
from typing import Final

from contracts.events import FormEvent
from worker.address import Mailbox
from worker.errors import PermanentError
from worker.mime import Letter
from worker.preview import Preview, of_event, of_mails
from worker.render import Renderer
from worker.specimens import specimens
from worker.stationery import Stationery, bundled
from worker.template_files import read

TOGETHER: Final = ("cy", "en-GB")

_SENDER: Final = Mailbox("Contensis", "no-reply@contensis.com")
_ARABIC: Final = {
    "language": "ar",
    "subject": "شكرا لك",
    "body": "مرحبا {{ name }}\n\nشكرا لك على رسالتك. رقمك المرجعي هو {{ reference }}.",  # noqa: RUF001 - it is Arabic
}


def samples() -> list[Preview]:
    """All of them; of those that are the same to the letter, the first."""
    stationery = bundled()
    alone = Renderer(default_sender=_SENDER, stationery=stationery)
    together = Renderer(default_sender=_SENDER, stationery=Stationery(read(), bilingual=TOGETHER))
    languages = [(language,) for language in stationery.languages]
    return _different(
        [
            *of_mails(stationery.mails, alone, languages),
            *of_mails(["workflow/decline"], together, [TOGETHER]),
            *of_event(_in_arabic(), alone, ()),
        ]
    )


def letter_of(preview: Preview) -> Letter:
    """The letter of a sample, all of which can be made."""
    if isinstance(preview.outcome, PermanentError):
        raise preview.outcome
    return preview.outcome


def _different(previews: Iterable[Preview]) -> list[Preview]:
    by_html: dict[str, Preview] = {}
    for preview in previews:
        by_html.setdefault(letter_of(preview).html, preview)
    return list(by_html.values())


def _in_arabic() -> FormEvent:
    event = next(specimens("form/autoResponder")).event
    if not isinstance(event, FormEvent):
        raise TypeError("the mails of forms are of forms' events")
    rule = event.data.emails[0].model_copy(update=_ARABIC)
    return event.model_copy(update={"data": event.data.model_copy(update={"emails": (rule,)})})
