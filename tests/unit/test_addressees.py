"""Who gets a mail: one entry an address, in order, with an identity that a resend repeats."""

import hashlib
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from contracts.events import RecipientReason
from tests.support.examples import (
    FORM,
    NAMES,
    PASSWORD_RESET,
    SCHEDULED,
    SYSTEM,
    WORKFLOW,
    event_of,
    example,
)
from worker.addressees import Addressee, addressees


def found(document: dict[str, Any]) -> list[Addressee]:
    """Who the event writes to."""
    return addressees(event_of(document))


def to_recipients(*recipients: dict[str, Any], name: str = WORKFLOW) -> dict[str, Any]:
    """An example with these recipients."""
    document = example(name)
    document["data"]["recipients"] = [{"reason": "approver", **recipient} for recipient in recipients]
    return document


def raised(event: str, *, came_from: str = "draft", workflow: str = "contensisEntryApproval") -> dict[str, Any]:
    """The workflow example, with another event raised."""
    document = example(WORKFLOW)
    document["data"]["workflow"] |= {"id": workflow, "transition": {"event": event, "from": came_from}}
    document["data"]["schedule"] = {"type": "publish", "dateTime": "2026-11-30T09:00:00Z"}
    return document


THOUGH_OPTED_OUT = {
    "approver": False,
    "chosenApprover": True,
    "submitter": False,
    "contentOwner": True,
    "previousContentOwner": True,
    "assignee": True,
    "previousAssignee": True,
    "mentioned": True,
    "participant": False,
    "reviewer": False,
    "accountHolder": True,
    "systemAdministrator": False,
}


@pytest.mark.parametrize("name", [WORKFLOW, SYSTEM])
@pytest.mark.parametrize("reason", list(RecipientReason))
def test_opting_out_is_overridden_for_some_reasons(reason: str, name: str) -> None:
    """The four documented ones, with both sides of a change of owner or assignee, and the account's holder."""
    person = {"email": "a@b.example", "reason": reason}
    [opted_in] = found(to_recipients(person, name=name))
    [opted_out] = found(to_recipients(person | {"optOutOfNotifications": True}, name=name))
    assert (opted_in.wanted, opted_out.wanted) == (True, THOUGH_OPTED_OUT[reason])


@pytest.mark.parametrize(
    ("event", "came_from", "workflow", "variant"),
    [
        pytest.param("submit", "draft", "contensisEntryApproval", "submit", id="bare"),
        pytest.param("draft.submit", "draft", "contensisEntryApproval", "submit", id="with-its-state"),
        pytest.param("SUBMIT", "DRAFT", "contensisentryapproval", "submit", id="in-any-case"),
        pytest.param("submit", "declined", "contensisEntryApproval", "declined.submit", id="again"),
        pytest.param("declined.submit", "Declined", "acme", "declined.submit", id="again-elsewhere"),
        pytest.param("awaitingApproval.decline", "awaitingApproval", "x", "decline", id="decline"),
        pytest.param("approve", "awaitingApproval", "x", "approve", id="approve"),
        pytest.param("draft.submitAndApprove", "draft", "x", "submitAndApprove", id="submit-and-approve"),
        pytest.param("scheduledApprove", "awaitingApproval", "x", "scheduledApprove", id="scheduled"),
        pytest.param(
            "submitAndScheduledApprove", "draft", "x", "submitAndScheduledApprove", id="submit-and-scheduled"
        ),
        pytest.param("awaitingApproval.revoke", "awaitingApproval", "x", "revoke", id="revoke"),
        pytest.param("sysUnpublish", "versionComplete", "contensisEntryBasic", "default", id="system-event"),
        pytest.param("legalReview.escalate", "legalReview", "acmeLegal", "default", id="custom"),
        pytest.param("../../_base", "..", "..", "default", id="path"),
        pytest.param(".", ".", ".", "default", id="dot"),
    ],
)
def test_the_workflow_event_chooses_the_mail(event: str, came_from: str, workflow: str, variant: str) -> None:
    """`{workflowId}.{from}.{event}`, `{from}.{event}`, `{event}`, else the default; never an error."""
    [first, _] = found(raised(event, came_from=came_from, workflow=workflow))
    assert first.variant == f"workflow/{variant}"


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        (FORM, ["form/notification", "form/notification", "form/autoResponder"]),
        (PASSWORD_RESET, ["password-reset/requested"]),
        (SCHEDULED, ["workflow/scheduledApprove"]),
        (SYSTEM, ["system/message", "system/message"]),
        (WORKFLOW, ["workflow/submit", "workflow/submit"]),
    ],
)
def test_every_example_has_its_mails(name: str, variants: list[str]) -> None:
    """In the event's order, numbered."""
    everybody = found(example(name))
    assert [addressee.variant for addressee in everybody] == variants
    assert [addressee.index for addressee in everybody] == list(range(len(variants)))


@pytest.mark.parametrize("action", ["requested", "forced", "changed"])
def test_each_password_action_has_its_mail(action: str) -> None:
    """One template folder an action."""
    document = example(PASSWORD_RESET)
    document["data"]["reset"]["action"] = action
    assert [addressee.variant for addressee in found(document)] == [f"password-reset/{action}"]


def test_one_address_listed_twice_gets_one_mail() -> None:
    """However it is spelled; the first entry stays at its place, and the numbers have no gaps."""
    document = to_recipients(
        {"email": "a@b.example", "firstName": "Ann"},
        {"email": "A@B.example", "firstName": "Another"},
        {"email": "c@b.example"},
    )
    assert [(a.index, a.to) for a in found(document)] == [(0, "Ann <a@b.example>"), (1, "c@b.example")]


@pytest.mark.parametrize("reasons", [("approver", "chosenApprover"), ("chosenApprover", "approver")])
def test_an_entry_that_overrides_opting_out_beats_one_that_does_not(reasons: tuple[str, str]) -> None:
    """Somebody who is approver and chosen is written to as chosen, at the place where they are first listed."""
    opted_out = {"email": "a@b.example", "optOutOfNotifications": True}
    entries = [opted_out | {"reason": reason} for reason in reasons]
    [first, second] = found(to_recipients(*entries, {"email": "c@b.example"}))
    assert (first.wanted, first.index, first.to) == (True, 0, "a@b.example")
    assert second.to == "c@b.example"


def test_a_forms_rules_are_lists_of_their_own() -> None:
    """Notification and auto-responder, and two notifications, to one address are so many mails."""
    document = example(FORM)
    same = {"to": ["a@b.example", "A <A@b.example>"]}
    rules = ("notification", "autoResponder", "notification")
    document["data"]["emails"] = [{"rule": rule, **same} for rule in rules]
    everybody = found(document)
    assert [addressee.variant.partition("/")[2] for addressee in everybody] == list(rules)
    assert len({addressee.key for addressee in everybody}) == len(rules)


@pytest.mark.parametrize(
    ("name", "index", "rule", "address"),
    [
        (WORKFLOW, 1, "workflow/submit", "h.okafor@broddu.example"),
        (FORM, 1, "notification", "foi-tim@broddu.example"),
        (FORM, 2, "autoResponder", "wyn@llyr.example"),
        (PASSWORD_RESET, 0, "password-reset/requested", "s.morgan@broddu.example"),
        (SYSTEM, 0, "system/message", "h.okafor@broddu.example"),
    ],
)
def test_the_key_is_source_id_rule_and_address(name: str, index: int, rule: str, address: str) -> None:
    """Sent again, a mail has the same Message-ID, whichever worker or version sends it."""
    document = example(name)
    identity = "\0".join((document["source"], document["id"], rule, address))
    assert found(document)[index].key == hashlib.sha256(identity.encode()).hexdigest()[:32]


def test_a_second_rule_of_a_kind_is_numbered_in_the_key() -> None:
    """`notification`, then `notification.2`."""
    document = example(FORM)
    document["data"]["emails"] = [{"rule": "notification", "to": ["a@b.example"]}] * 2
    identity = "\0".join((document["source"], document["id"], "notification.2", "a@b.example"))
    assert found(document)[1].key == hashlib.sha256(identity.encode()).hexdigest()[:32]


@pytest.mark.parametrize("name", NAMES)
def test_an_event_published_twice_has_the_same_mails(name: str) -> None:
    """The list is fixed by the event: a retry counts with it."""
    assert found(example(name)) == found(example(name))


@pytest.mark.parametrize(
    ("recipient", "resource", "project", "language"),
    [
        pytest.param("cy", "en-GB", "en-GB", "cy", id="recipient"),
        pytest.param("CY-gb", None, None, "cy", id="recipient-CY-gb"),
        pytest.param("fr-fr", None, None, "en-GB", id="no-French"),
        pytest.param("xx", None, None, "en-GB", id="unknown"),
        pytest.param("en-US", "cy", "cy", "en-GB", id="another-English"),
        pytest.param("fr-fr", "cy", "en-GB", "cy", id="resource"),
        pytest.param(None, "cy", "en-GB", "cy", id="resource-for-nobody's-choice"),
        pytest.param("", "de-DE", "cy", "cy", id="project"),
        pytest.param(None, None, None, "en-GB", id="nothing"),
    ],
)
@pytest.mark.parametrize("name", [WORKFLOW, SYSTEM])
def test_the_language_is_the_recipients_then_the_resources_then_the_projects(
    name: str, recipient: str | None, resource: str | None, project: str | None, language: str
) -> None:
    """And British English when none of these is one there are phrases for."""
    document = to_recipients({"email": "a@b.example", "language": recipient}, name=name)
    document["data"]["resource"] = {"id": "1", "type": "entry", "title": "T", "language": resource}
    document["data"]["project"] = {"id": "p", "name": "P", "primaryLanguage": project}
    assert found(document)[0].language == language


@pytest.mark.parametrize(
    ("rule", "body", "language"),
    [
        pytest.param("en-US", "Text", "en-GB", id="one-there-is"),
        pytest.param("AR", "Text", "ar", id="its-own-text-in-another"),
        pytest.param("AR", None, "cy", id="default-text-in-another"),
        pytest.param("?", "Text", "cy", id="no-language"),
        pytest.param(None, "Text", "cy", id="none-so-the-resource's"),
    ],
)
def test_a_forms_rule_speaks_its_own_language_with_its_own_text(
    rule: str | None, body: str | None, language: str
) -> None:
    """Default text can only be in a language there are phrases for."""
    document = example(FORM)
    document["data"]["emails"] = [
        {"rule": "autoResponder", "to": ["a@b.example"], "language": rule, "body": body}
    ]
    assert found(document)[0].language == language


@pytest.mark.parametrize(
    ("zone", "name"),
    [("America/New_York", "America/New_York"), (None, "UTC"), ("Nowhere/At_All", "UTC"), ("../x", "UTC")],
)
def test_the_clock_is_the_recipients(zone: str | None, name: str) -> None:
    """UTC where it is missing or unknown."""
    document = to_recipients({"email": "a@b.example", "timezone": zone})
    assert found(document)[0].timezone == ZoneInfo(name)


@pytest.mark.parametrize(
    ("first", "last", "to"),
    [
        pytest.param("Siân", "Morgan", "Siân Morgan <a@b.example>", id="both"),
        pytest.param("Siân", None, "Siân <a@b.example>", id="first"),
        pytest.param(None, "Morgan", "Morgan <a@b.example>", id="last"),
        pytest.param(None, "", "a@b.example", id="neither"),
        pytest.param(" \r\n", "\t", "a@b.example", id="blank"),
        pytest.param("Morgan, Siân", None, '"Morgan, Siân" <a@b.example>', id="comma"),
        pytest.param('S"i\\', "<x@y.z>", r'"S\"i\\ <x@y.z>" <a@b.example>', id="what-looks-like-a-mailbox"),
        pytest.param("A\r\nBcc: x", None, "A Bcc: x <a@b.example>", id="line-break"),
    ],
)
def test_a_person_is_written_to_by_name(first: str | None, last: str | None, to: str) -> None:
    """Whatever the name holds, it stays one mailbox."""
    document = to_recipients({"email": "a@b.example", "firstName": first, "lastName": last})
    assert found(document)[0].to == to
