"""Events for every mail there is: what templates are tried with, and what previews show.

All are made of the contract's own examples, so a specimen holds what a publisher may send.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from contracts import events
from contracts.events import EVENT, SCHEDULING_EVENTS, Event, Reset, WorkflowData
from worker.look import SEVERITIES

EXAMPLES: Final = Path(events.__file__).parent / "examples"

Document = dict[str, Any]

_STATES: Final = {
    "submit": ("draft", "awaitingApproval"),
    "decline": ("awaitingApproval", "declined"),
    "approve": ("awaitingApproval", "versionComplete"),
    "revoke": ("awaitingApproval", "draft"),
    "scheduledApprove": ("awaitingApproval", "scheduled"),
    "submitAndApprove": ("draft", "versionComplete"),
    "submitAndScheduledApprove": ("draft", "scheduled"),
}
"""A workflow event of the CMS -> the states before and after it."""

_CUSTOM: Final = ("legalReview", "seniorReview")
_CUSTOM_NAME: Final = {"en-GB": "With the legal team", "cy": "Gyda’r tîm cyfreithiol"}
_TO_APPROVERS: Final = frozenset({"submit", "revoke"})
_EDITOR: Final = {"username": "h.okafor", "firstName": "Helen", "lastName": "Okafor"}
_AUTHOR: Final = {
    "email": "s.morgan@broddu.example",
    "firstName": "Siân",
    "lastName": "Morgan",
    "timezone": "Europe/London",
    "reason": "submitter",
}
_REMARK: Final = "Mae’r oriau agor ar gyfer dydd Sul ar goll."
_SCHEDULE: Final = {"type": "publish", "dateTime": "2026-11-30T09:00:00Z"}

_NEEDED: Final = frozenset({(WorkflowData, "schedule"), (Reset, "url"), (Reset, "expires")})
"""Fields that the contract asks for by the values of others."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """An event that leads to the mail of a folder; `kind` tells it from others that do."""

    mail: str
    kind: str
    event: Event


def specimens(mail: str) -> Iterator[Specimen]:
    """Events for `<family>/<variant>`, with all that a publisher may say; the first mail of each is the one."""
    family, _, variant = mail.partition("/")
    for kind, document in _MAKERS[family](variant):
        yield Specimen(mail, kind, EVENT.validate_python(document))


def sparse(event: Event) -> Event:
    """The event with no more than its contract asks for."""
    fewer: Event = _without_extras(event)
    return fewer


def _without_extras(part: Any) -> Any:
    if isinstance(part, tuple):
        return tuple(map(_without_extras, part))
    if not isinstance(part, BaseModel):
        return part
    kind = type(part)
    kept = [name for name, field in kind.model_fields.items() if field.is_required() or (kind, name) in _NEEDED]
    return kind.model_validate({name: _without_extras(getattr(part, name)) for name in kept})


def _example(name: str) -> Document:
    document: Document = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return document


def _workflow(variant: str) -> Iterator[tuple[str, Document]]:
    """`variant` is `<event>`, `<state before>.<event>` or `<workflow>.<state before>.<event>`."""
    document = _example("workflow-submit")
    data, workflow = document["data"], document["data"]["workflow"]
    *place, raised = variant.split(".")
    before, after = _STATES.get(raised, _CUSTOM)
    workflow |= {"state": after, "stateName": None if raised in _STATES else _CUSTOM_NAME}
    workflow["transition"] |= {"from": place[-1] if place else before, "event": raised}
    if len(place) > 1:
        workflow["id"] = place[0]
    if raised not in _TO_APPROVERS:
        data |= {"invokedBy": _EDITOR, "recipients": [_AUTHOR]}
        workflow["transition"]["data"] = {"message": _REMARK}
    if raised.casefold() in SCHEDULING_EVENTS:
        data["schedule"] = _SCHEDULE
    yield "", document


def _form(rule: str) -> Iterator[tuple[str, Document]]:
    """With the default text, and with the rule's own where the example has one."""
    document = _example("form-notification-and-autoresponder")
    email = next(email for email in document["data"]["emails"] if email["rule"] == rule)
    for kind, own in (("", {"subject": None, "body": None}), ("own-text", {})):
        document["data"]["emails"] = [email | own]
        if own or "body" in email:
            yield kind, document


def _password_reset(action: str) -> Iterator[tuple[str, Document]]:
    document = _example("password-reset-requested")
    document["data"]["reset"]["action"] = action
    yield "", document


def _system(code: str) -> Iterator[tuple[str, Document]]:
    """In every severity where the mail is the one of all codes."""
    document = _example("system-schedule-missed")
    message = document["data"]["message"]
    if code != "message":
        message["code"] = code
        yield "", document
        return
    for severity in SEVERITIES:
        message["severity"] = severity
        yield severity, document


_MAKERS: Final[Mapping[str, Callable[[str], Iterator[tuple[str, Document]]]]] = {
    "workflow": _workflow,
    "form": _form,
    "password-reset": _password_reset,
    "system": _system,
}
