"""Events: what must fail, with the path of its fault, and what must bend."""

import base64
import json
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from contracts import events
from contracts.events import (
    ALWAYS_SENT,
    EVENT,
    FAMILIES,
    Recipient,
    RecipientReason,
    expiry_of,
    family_of,
    type_of,
)
from contracts.schema import documents

EXAMPLES: Final = Path(str(events.__file__)).parent / "examples"
SUBMIT: Final = "workflow-submit"
SCHEDULED: Final = "workflow-scheduled-approve"
FORM: Final = "form-notification-and-autoresponder"
RESET: Final = "password-reset-requested"
SYSTEM: Final = "system-schedule-missed"


class Absent(Enum):
    """A field that is left out."""

    ABSENT = "nothing"


ABSENT: Final = Absent.ABSENT
INJECTION: Final = "cms@broddu.example\r\nBcc: all@broddu.example"
MEBIBYTE: Final = 1024 * 1024


def event_with(example: str, path: str, value: object) -> dict[str, Any]:
    """An example event with the value at a dotted path replaced, added, or taken away (`ABSENT`)."""
    event: dict[str, Any] = json.loads((EXAMPLES / f"{example}.json").read_bytes())
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place: Any = event
    for step in steps:
        place = place[step]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return event


def file(**fields: object) -> list[dict[str, object]]:
    """A list of one attachment; by default a small inline one."""
    known: dict[str, object] = {"filename": "a.txt", "contentBase64": "aGVsbG8=", **fields}
    return [{name: value for name, value in known.items() if value is not ABSENT}]


def inline(size: int) -> str:
    """`size` bytes as base64."""
    return base64.b64encode(bytes(size)).decode()


def faults(event: object) -> ValidationError:
    """What the contract says is wrong with an event."""
    with pytest.raises(ValidationError) as caught:
        EVENT.validate_json(json.dumps(event))
    return caught.value


def places(event: object) -> list[str]:
    """Where the contract finds faults, as dotted paths; the tag of the family is left out."""
    return [".".join(map(str, fault["loc"][1:])) for fault in faults(event).errors(include_input=False)]


BAD: Final[list[tuple[str, str, object, str]]] = [
    (SUBMIT, "type", "com.contensis.entry.workflowEventRaised.v2", ""),
    (SUBMIT, "type", ABSENT, ""),
    (SUBMIT, "specversion", "0.3", "specversion"),
    (SUBMIT, "specversion", ABSENT, "specversion"),
    (SUBMIT, "id", "", "id"),
    (SUBMIT, "id", 7, "id"),
    (SUBMIT, "id", "a\nb", "id"),
    (SUBMIT, "source", "", "source"),
    (SUBMIT, "subject", "", "subject"),
    (SUBMIT, "time", "2026-11-24T14:05:12", "time"),
    (SUBMIT, "time", "yesterday", "time"),
    (SUBMIT, "time", ABSENT, "time"),
    (RESET, "expirytime", "2026-11-24T12:30:00", "expirytime"),
    (SUBMIT, "data", ABSENT, "data"),
    (SUBMIT, "data", "text", "data"),
    (SUBMIT, "dataref", "https://broddu.example/claim", ""),
    (SUBMIT, "data.invokedBy", None, "data.invokedBy"),
    (SUBMIT, "data.resource.type", "page", "data.resource.type"),
    (SUBMIT, "data.resource.title", ABSENT, "data.resource.title"),
    (SUBMIT, "data.resource.url", "javascript:alert(1)", "data.resource.url"),
    (SUBMIT, "data.environment.url", "broddu.example", "data.environment.url"),
    (SUBMIT, "data.workflow.transition", ABSENT, "data.workflow.transition"),
    (SUBMIT, "data.recipients", [], "data.recipients"),
    (SUBMIT, "data.recipients", ABSENT, "data.recipients"),
    (SUBMIT, "data.recipients.1.email", "", "data.recipients.1.email"),
    (SUBMIT, "data.recipients.1.email", INJECTION, "data.recipients.1.email"),
    (SUBMIT, "data.recipients.1.reason", "friend", "data.recipients.1.reason"),
    (SUBMIT, "data.from", INJECTION, "data.from"),
    (SUBMIT, "data.from", "Cyngor Bro Ddu", "data.from"),
    (SUBMIT, "data.replyTo", INJECTION, "data.replyTo"),
    (SUBMIT, "data.replyTo", "a@broddu.example, b@broddu.example", "data.replyTo"),
    (SCHEDULED, "data.schedule", ABSENT, "data"),
    (SCHEDULED, "data.schedule", None, "data"),
    (SCHEDULED, "data.schedule.dateTime", "2026-11-30T09:00:00", "data.schedule.dateTime"),
    (SUBMIT, "data.workflow.transition.event", "draft.submitAndScheduledApprove", "data"),
    (SUBMIT, "data.workflow.transition.event", "SCHEDULEDAPPROVE", "data"),
    (FORM, "data.emails", [], "data.emails"),
    (FORM, "data.emails.0.to", [], "data.emails.0.to"),
    (FORM, "data.emails.0.to.1", INJECTION, "data.emails.0.to.1"),
    (FORM, "data.emails.0.rule", "confirmation", "data.emails.0.rule"),
    (FORM, "data.emails.0.replyTo", INJECTION, "data.emails.0.replyTo"),
    (FORM, "data.emails.1.from", INJECTION, "data.emails.1.from"),
    (FORM, "data.emails.1.subject", "Diolch\r\nBcc: all@broddu.example", "data.emails.1.subject"),
    (FORM, "data.emails.1.subject", "Diolch\u2028Bcc: all@broddu.example", "data.emails.1.subject"),
    (FORM, "data.response", ABSENT, "data.response"),
    (FORM, "data.attachments", file(filename="a\r\nBcc: b"), "data.attachments.0.filename"),
    (FORM, "data.attachments", file(filename=""), "data.attachments.0.filename"),
    (FORM, "data.attachments", file(url="https://broddu.example/a"), "data.attachments.0"),
    (FORM, "data.attachments", file(contentBase64=ABSENT), "data.attachments.0"),
    (FORM, "data.attachments", file(contentBase64=None), "data.attachments.0"),
    (FORM, "data.attachments", file(contentBase64="aGVsbG8!"), "data.attachments.0"),
    (FORM, "data.attachments", file(contentBase64=inline(MEBIBYTE + 3)), "data.attachments.0"),
    (FORM, "data.attachments", file(sha256="abc"), "data.attachments.0.sha256"),
    (FORM, "data.attachments", file(fileSize=-1), "data.attachments.0.fileSize"),
    (FORM, "data.attachments", file(contentId="<a>\r\nX: y"), "data.attachments.0.contentId"),
    (FORM, "data.attachments", file(contentType="text/plain\r\nX: y"), "data.attachments.0.contentType"),
    (FORM, "data.attachments", file(disposition="hidden"), "data.attachments.0.disposition"),
    (RESET, "data.reset.url", ABSENT, "data.reset"),
    (RESET, "data.reset.expires", None, "data.reset"),
    (RESET, "data.reset.expires", "2026-11-24T12:30:00", "data.reset.expires"),
    (RESET, "data.reset.url", "http://cms-broddu.example/reset?token=hunter2", "data.reset.url"),
    (RESET, "data.reset.url", "https://cms-broddu.example/?token=hunter2\r\nX: y", "data.reset.url"),
    (RESET, "data.reset.action", "forgotten", "data.reset.action"),
    (RESET, "data.user.email", INJECTION, "data.user.email"),
    (RESET, "data.user.email", ABSENT, "data.user.email"),
    (SYSTEM, "data.message.severity", "fatal", "data.message.severity"),
    (SYSTEM, "data.message.code", "", "data.message.code"),
    (SYSTEM, "data.message.action.url", "file:///etc/passwd", "data.message.action.url"),
    (SYSTEM, "data.recipients", [], "data.recipients"),
]
"""Example, path and value of a change that no event may have, and the path of the fault it makes."""

SCHEMA: Final = Draft202012Validator(json.loads(documents()["event.json"]))
IDS: Final = [
    f"{example}, {path} = {'absent' if value is ABSENT else value}"[:90] for example, path, value, _ in BAD
]


bad = pytest.mark.parametrize(("example", "path", "value", "place"), BAD, ids=IDS)


@bad
def test_a_bad_event_fails_where_it_is_wrong(example: str, path: str, value: object, place: str) -> None:
    """The path leads a publisher to the field; nothing else is found wrong."""
    assert places(event_with(example, path, value)) == [place]


@bad
def test_the_published_schema_refuses_a_bad_event_too(
    example: str, path: str, value: object, place: str
) -> None:
    """A publisher that validates with the schema is not surprised by a dead letter."""
    assert not SCHEMA.is_valid(event_with(example, path, value))


@bad
def test_what_is_said_of_a_bad_event_does_not_show_it(
    example: str, path: str, value: object, place: str
) -> None:
    """Events hold addresses and reset links, and messages end in logs."""
    said = str(faults(event_with(example, path, value)))
    assert "input_value" not in said
    assert not any(secret in said for secret in ("broddu.example", "hunter2", "Bcc", "not-a-real-token"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"hunter2"', b"\xff\xfehunter2", b"[" * 9999])
def test_what_is_no_event_at_all_is_refused_without_showing_it(content: bytes) -> None:
    """Broken JSON, another encoding, another shape: one kind of error, and nothing of the content in it."""
    with pytest.raises(ValidationError) as caught:
        EVENT.validate_json(content)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("path", ["title", "body", "action.label", "details.0.value"])
@pytest.mark.parametrize("value", ["", {}, {"cy": None}, 5], ids=str)
def test_a_localized_text_is_a_text_or_texts_by_language(path: str, value: object) -> None:
    """Empty is neither."""
    event = event_with(SYSTEM, f"data.message.{path}", value)
    assert all(place.startswith(f"data.message.{path}") for place in places(event))
    assert not SCHEMA.is_valid(event)


def test_inline_attachments_are_limited_together() -> None:
    """4 MiB an event, decoded: five small ones fit, five large ones do not."""
    small, large = inline(MEBIBYTE // 2), inline(MEBIBYTE)
    EVENT.validate_python(event_with(FORM, "data.attachments", file(contentBase64=small) * 5))
    EVENT.validate_python(event_with(FORM, "data.attachments", file(contentBase64=large) * 4))
    assert places(event_with(FORM, "data.attachments", file(contentBase64=large) * 5)) == ["data"]


BENDS: Final[list[tuple[str, str, object]]] = [
    (SUBMIT, "futurefield", {"a": 1}),
    (SUBMIT, "data.future", 1),
    (SUBMIT, "data.recipients.0.nickname", "Dyl"),
    (SUBMIT, "data.environment", ABSENT),
    (SUBMIT, "data.workflow.id", "acmeLegal"),
    (SUBMIT, "data.workflow.transition.event", "legalReview.escalate"),
    (SUBMIT, "data.workflow.transition.data", None),
    (SUBMIT, "data.workflow.transition.data.message", "a\u0000b\r\nc"),
    (SUBMIT, "data.recipients.0.language", "CY-gb"),
    (SUBMIT, "data.recipients.0.language", "xx"),
    (SUBMIT, "data.recipients.0.email", "siân@broddu.example"),
    (SUBMIT, "data.recipients.0.email", "cymorth@llŷn.example"),
    (SUBMIT, "data.recipients.0.email", "not an address"),
    (SUBMIT, "data.replyTo", "Siân Morgan <s.morgan@broddu.example>"),
    (SUBMIT, "data.replyTo", '"Morgan, Siân" <s.morgan@broddu.example>'),
    (SUBMIT, "data.from", "cymorth@llŷn.example"),
    (SUBMIT, "time", "2026-11-24T14:05:12+02:00"),
    (SUBMIT, "subject", ABSENT),
    (SUBMIT, "expirytime", "2001-01-01T00:00:00Z"),
    (RESET, "data.reset.expires", "2001-01-01T00:00:00Z"),
    (RESET, "data.reset", {"action": "changed"}),
    (RESET, "data.reset", {"action": "forced", "url": None}),
    (FORM, "data.invokedBy", None),
    (FORM, "data.response.extra", {"any": ["value", None]}),
    (FORM, "data.emails.0.to.0", "Tîm FOI <foi-tim@broddu.example>"),
    (FORM, "data.emails.0.body", [{"type": "_paragraph", "value": "a"}]),
    (FORM, "data.attachments", file()),
    (FORM, "data.attachments", file(contentBase64="")),
    (FORM, "data.attachments", file(contentBase64=None, url="https://169.254.169.254/")),
    (FORM, "data.attachments", file(contentBase64=inline(MEBIBYTE))),
    (SYSTEM, "data.message.code", "acme.somethingNew"),
    (SYSTEM, "data.message.severity", ABSENT),
    (SYSTEM, "data.message.body", ["One.", {"en-GB": "Two.", "cy": "Dau."}]),
]
"""Example, path and value of a change that is no fault of the contract; later steps decide about it."""


@pytest.mark.parametrize(("example", "path", "value"), BENDS, ids=[f"{e}, {p} = {v}"[:90] for e, p, v in BENDS])
def test_an_event_may_bend(example: str, path: str, value: object) -> None:
    """Newer publishers, custom workflows, odd addresses: one of them must not cost everybody's mail."""
    event = event_with(example, path, value)
    EVENT.validate_json(json.dumps(event))
    assert SCHEMA.is_valid(event)


@pytest.mark.parametrize("reason", RecipientReason)
def test_opting_out_is_overridden_by_the_documented_reasons_only(reason: RecipientReason) -> None:
    """Those that the CMS documents; mail to the account holder is always sent as well."""
    always = {
        "chosenApprover",
        "contentOwner",
        "previousContentOwner",
        "assignee",
        "previousAssignee",
        "mentioned",
        "accountHolder",
    }
    person = Recipient(email="a@broddu.example", reason=reason, opt_out_of_notifications=True)
    assert person.wants_email == (reason.value in always) == (reason in ALWAYS_SENT)
    assert Recipient(email="a@broddu.example", reason=reason).wants_email


def test_a_reset_link_is_masked_wherever_the_event_is_shown() -> None:
    """It is as good as a password."""
    event = EVENT.validate_python(event_with(RESET, "id", "1"))
    assert "not-a-real-token" not in repr(event) + str(event) + event.model_dump_json()


@pytest.mark.parametrize(
    ("example", "path", "value", "expiry"),
    [
        (SUBMIT, "id", "1", None),
        (SUBMIT, "expirytime", "2026-11-25T00:00:00Z", "2026-11-25T00:00:00+00:00"),
        (RESET, "expirytime", ABSENT, "2026-11-24T12:30:00+00:00"),
        (RESET, "expirytime", "2026-11-24T13:00:00+02:00", "2026-11-24T11:00:00+00:00"),
        (RESET, "data.reset.expires", "2026-11-24T11:00:00Z", "2026-11-24T11:00:00+00:00"),
    ],
)
def test_an_event_expires_at_the_earlier_of_its_two_times(
    example: str, path: str, value: object, expiry: str | None
) -> None:
    """Neither a stale notice nor a link that no longer works is sent."""
    expected = None if expiry is None else datetime.fromisoformat(expiry)
    assert expiry_of(EVENT.validate_python(event_with(example, path, value))) == expected


@pytest.mark.parametrize(
    ("example", "family", "key"),
    [
        (SUBMIT, "workflow", "workflow.website.contensisEntryApproval.awaitingApproval.submit"),
        (SCHEDULED, "workflow", "workflow.website.contensisEntryApproval.scheduled.scheduledApprove"),
        (FORM, "form", "form.website.enquiryForm"),
        (RESET, "password-reset", "password-reset.requested"),
        (SYSTEM, "system", "system.warning.schedule.missed"),
    ],
)
def test_a_family_has_its_routing_keys(example: str, family: str, key: str) -> None:
    """The key is what publishers send with and queues are bound by; it holds no personal data."""
    event = EVENT.validate_python(event_with(example, "id", "1"))
    assert (family_of(event), event.routing_key()) == (family, key)
    assert type_of(FAMILIES[family]) == event.type


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=400))
def test_a_routing_key_fits_amqp_whatever_the_names_are(text: str) -> None:
    """A short string of AMQP: 255 bytes of UTF-8; the family stays in front."""
    for example, path in (
        (SUBMIT, "data.workflow.transition.event"),
        (FORM, "data.form.id"),
        (SYSTEM, "data.message.code"),
    ):
        event = EVENT.validate_python(event_with(example, path, text))
        key = event.routing_key()
        assert len(key.encode()) <= 255
        assert key.startswith(f"{family_of(event)}.")
