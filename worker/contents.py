"""What a mail says: the values its templates are filled with, one function a family.

Values are plain text, escaped where the templates put them. A template asks for a phrase with `text["key"]`,
and the phrase's own placeholders are filled from the same values.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from markupsafe import Markup, escape

from contracts.events import (
    ALWAYS_SENT,
    Account,
    Event,
    FormData,
    FormEmail,
    FormEvent,
    PasswordResetEvent,
    Person,
    Recipient,
    Resource,
    SystemEvent,
    WorkflowEvent,
)
from worker.addressees import Addressee, primary_language, resource_language
from worker.answers import Answers
from worker.canvas import Canvas
from worker.piece import Piece, classed, plain
from worker.placeholders import Placeholders
from worker.stationery import Stationery
from worker.wording import FALLBACK, Reader, Said, choose, direction, flat, start

Values = dict[str, object]

FLAGGED: Final = frozenset({"warning", "error"})
"""Severities that the subject of a system message names."""

PAGES: Final = "pages"
"""What only the templates of the form response table are given."""

_UNLESS_SAID: Final[Values] = {
    "opens": True,
    "closes": True,
    "also": (),
    "message": "",
    "facts": (),
    "body": None,
    "answers": None,
    "action": "",
    "url": "",
    "after": (),
    "choice": "",
    "badge": "",
    "message_label": "label.message",
}


def contents(event: Event, addressee: Addressee, language: str, stationery: Stationery) -> Values:
    """The values for the templates of `addressee`'s mail in `language`.

    Raises PermanentError (template) for a form's email rule that cannot be rendered.
    """
    reader = _reader(event, addressee, language, stationery)
    values = {**_UNLESS_SAID, **_frame(event, addressee.entry, reader)}
    match event, addressee.entry:
        case WorkflowEvent() as raised, Recipient() as recipient:
            values |= _workflow(raised, recipient, reader)
        case FormEvent() as sent, FormEmail() as rule:
            values |= _form(sent.data, rule, reader, stationery)
        case PasswordResetEvent() as reset, Account():
            values |= _password_reset(reset, reader)
        case SystemEvent() as message, Recipient():
            values |= _system(message, reader, stationery)
        case _:
            raise TypeError("the addressee belongs to an event of another family")
    said = {name: value for name, value in values.items() if isinstance(value, str)}
    return values | {"text": Said(reader.wording, said)}


def _reader(event: Event, addressee: Addressee, language: str, stationery: Stationery) -> Reader:
    primary = primary_language(event)
    chain = (language, resource_language(event), primary)
    wording = stationery.wordings[choose(chain, stationery.languages)]
    languages = (language, wording.language, primary, FALLBACK)
    return Reader(wording, tuple(filter(None, dict.fromkeys(languages))), addressee.timezone)


def _frame(event: Event, entry: Recipient | FormEmail | Account, reader: Reader) -> Values:
    """What stands around every mail, and why it came."""
    wording, language = reader.wording, reader.languages[0]
    return {
        "language": language,
        "direction": direction(language),
        "start": start(language),
        "wording_language": wording.language,
        "wording_direction": direction(wording.language),
        "content_direction": _content_direction(resource_language(event)),
        "place": _place(event),
        "name": "" if isinstance(entry, FormEmail) else entry.first_name or "",
        "greeted": not isinstance(entry, FormEmail),
        "reason": wording.say({}, f"why.{_reason(entry)}"),
    }


def _content_direction(language: str | None) -> str:
    """Of what people wrote: a right-to-left language is known, else each text is looked at by itself."""
    return "rtl" if direction(language or "") == "rtl" else "auto"


def _place(event: Event) -> str:
    """Where in the CMS this happened."""
    project = None if isinstance(event, PasswordResetEvent) else event.data.project
    environment = event.data.environment
    return (project.name if project else "") or (environment.name if environment else "")


def _reason(entry: Recipient | FormEmail | Account) -> str:
    match entry:
        case Recipient():
            return entry.reason
        case FormEmail():
            return entry.rule
        case Account():
            return "accountHolder"


def _workflow(event: WorkflowEvent, recipient: Recipient, reader: Reader) -> Values:
    data, workflow, resource = event.data, event.data.workflow, event.data.resource
    state = reader.said(workflow.state_name) if workflow.state_name else reader.wording.state(workflow.state)
    facts = (
        ("label.project", data.project.name if data.project else None),
        ("label.language", resource.language),
        ("label.version", resource.version_no),
        ("label.workflowState", state),
    )
    written = workflow.transition.data
    return {
        "actor": _full_name(data.invoked_by),
        "title": resource.title,
        "state": state,
        "date": reader.date(data.schedule.date_time) if data.schedule else "",
        "message": (written and written.message) or "",
        "facts": _rows((reader.wording.say({}, key), value) for key, value in facts),
        "url": resource.url or "",
        "choice": "footer.always" if recipient.reason in ALWAYS_SENT else "footer.preferences",
    }


def _full_name(person: Person) -> str:
    return " ".join(filter(None, (person.first_name, person.last_name))) or person.username


def _form(data: FormData, rule: FormEmail, reader: Reader, stationery: Stationery) -> Values:
    answers = Answers(data, reader)
    table = partial(_table, answers, data.resource, reader, stationery)
    place = next(place for place, email in enumerate(data.emails) if email is rule)
    canvas = Canvas(Placeholders(answers.by_field(), f"data.emails[{place}]"), reader.wording, table)
    body = _own_body(rule, canvas, stationery)
    for_team = rule.rule == "notification"
    follows = (body is None or for_team) and not canvas.shows_answers
    return {
        "form": reader.said(data.form.name),
        "reference": answers.reference() or data.resource.title,
        "own_subject": canvas.placeholders.fill(rule.subject or ""),
        "body": body,
        "answers": table() if follows else None,
        "url": (for_team and data.resource.url) or "",
    }


def _table(answers: Answers, resource: Resource, reader: Reader, stationery: Stationery) -> Piece:
    """The form response table, one a page."""
    values: Values = {
        PAGES: answers.pages(),
        "start": start(reader.languages[0]),
        "content_direction": _content_direction(resource.language),
    }
    text = stationery.render("_base/answers.txt", values).strip("\n")
    html = Markup(stationery.render("_base/answers.html", values))  # noqa: S704 - an autoescaping template's
    return Piece(text, html, block=True)


def _own_body(rule: FormEmail, canvas: Canvas, stationery: Stationery) -> Piece | None:
    """The rule's own text in place of the default one; None if it says nothing."""
    if isinstance(rule.body, str):
        piece = plain(canvas.placeholders.fill(rule.body))
    else:
        piece = canvas.render(rule.body or ())
    return replace(piece, html=stationery.look.dressed(piece.html)) if piece.text.strip() else None


def _password_reset(event: PasswordResetEvent, reader: Reader) -> Values:
    user, reset = event.data.user, event.data.reset
    return {
        "username": user.username,
        "happened": reader.date(event.time),
        "date": reader.date(reset.expires) if reset.expires else "",
        "url": reset.url.get_secret_value() if reset.url else "",
    }


def _system(event: SystemEvent, reader: Reader, stationery: Stationery) -> Values:
    message = event.data.message
    severity = reader.wording.say({}, f"severity.{message.severity}")
    badge = classed("strong", escape(severity), f"badge {message.severity}")
    body = message.body if isinstance(message.body, tuple) else (message.body,)
    return {
        "title": reader.said(message.title),
        "severity": severity,
        "badge": stationery.look.dressed(badge),
        "flagged": message.severity in FLAGGED,
        "paragraphs": tuple(reader.said(paragraph) for paragraph in body),
        "facts": _rows((reader.said(row.label), reader.said(row.value)) for row in message.details),
        "action": reader.said(message.action.label) if message.action else "",
        "url": message.action.url if message.action else "",
    }


def _rows(rows: Iterable[tuple[str, str | None]]) -> tuple[tuple[str, str], ...]:
    """Label and value, each on one line; rows that say nothing are left out."""
    return tuple((flat(label), flat(value)) for label, value in rows if value)
