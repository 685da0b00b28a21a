"""From the CMS's default webhook payload to an event of the contract."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from contracts.events import EVENT, SystemEvent, WorkflowEvent
from deploy.publishers.python.publish import routing_key
from deploy.publishers.python.webhook_bridge import event_of
from tests.support.examples import NAMES, changed, example
from tests.support.examples import event_of as contract_event

TEMPLATE = Path(__file__).parents[3] / "deploy" / "publishers" / "webhook-payload.liquid"
RECIPIENTS = [{"email": "web@broddu.example", "reason": "systemAdministrator", "language": "cy"}]

PAYLOAD: dict[str, Any] = {
    "eventId": "b6d3a2b0-5c0e-4c55-9f6a-7f1f0a3f5c11",
    "eventName": "workflowStateChanged",
    "subscriptionId": "d2a4c5de-0000-4000-8000-000000000001",
    "datetime": "2026-11-24T14:05:12.481Z",
    "invokedBy": {"username": "s.morgan", "firstName": "Siân", "lastName": "Morgan"},
    "resource": {
        "id": "71f73a9b-2a13-4d63-bcc1-e8ee5047b01c",
        "type": "entry",
        "projectId": "website",
        "contentTypeId": "newsArticle",
        "title": "Ailagor Llyfrgell Tŷ’r Ŵyl",
        "language": "cy",
        "url": "https://cms-broddu.cloud.contensis.com/website/entries/71f73a9b?language=cy",
    },
}
WORKFLOW = {
    "id": "contensisEntryApproval",
    "state": "awaitingApproval",
    "transition": {"event": "submit", "from": "draft"},
}


def test_the_default_payload_becomes_a_message() -> None:
    """It tells neither who is to be told nor of the workflow, so it is a message to those of the file."""
    event = EVENT.validate_python(event_of(PAYLOAD, RECIPIENTS))
    assert isinstance(event, SystemEvent)
    assert event.id == PAYLOAD["eventId"]
    assert event.source == "https://cms-broddu.cloud.contensis.com/projects/website"
    assert event.data.message.title == "Ailagor Llyfrgell Tŷ’r Ŵyl: workflow state changed"
    assert event.data.message.body == "Siân Morgan: entry workflow state changed."
    assert event.routing_key() == "system.info.entry.workflowStateChanged"
    assert [recipient.email for recipient in event.data.recipients] == ["web@broddu.example"]


def test_a_payload_with_the_workflow_becomes_a_workflow_event() -> None:
    """`sys.workflow` is in no default payload; a custom one can have it."""
    event = EVENT.validate_python(event_of({**PAYLOAD, "workflow": WORKFLOW}, RECIPIENTS))
    assert isinstance(event, WorkflowEvent)
    assert event.data.resource.title == PAYLOAD["resource"]["title"]
    assert event.routing_key() == "workflow.website.contensisEntryApproval.awaitingApproval.submit"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("invokedBy", {"username": "", "firstName": "", "lastName": ""}, id="nobody did it"),
        pytest.param("resource.type", "asset", id="a resource that the contract does not know"),
        pytest.param("eventName", "created", id="one word"),
    ],
)
def test_a_payload_of_another_topic_is_an_event_too(path: str, value: Any) -> None:
    """The payload varies with the topic."""
    event = event_of(changed(PAYLOAD, path, value), RECIPIENTS)
    assert routing_key(event) == contract_event(event).routing_key()


def test_the_template_of_the_custom_payload_makes_one() -> None:
    """Filled in as the CMS would, it is JSON, and a workflow event."""
    values: dict[str, str] = {
        "event.dateTime": PAYLOAD["datetime"],
        "event.resourceUrl": PAYLOAD["resource"]["url"],
    }
    filled = re.sub(
        r"\{\{([\w.]+)[^}]*\}\}", lambda found: values.get(found[1], str(found[1])), TEMPLATE.read_text("utf-8")
    )
    event = EVENT.validate_python(event_of(json.loads(filled), RECIPIENTS))
    assert isinstance(event, WorkflowEvent)
    assert event.data.workflow.transition.from_ == "resource.sys.workflow.transition.from"


@pytest.mark.parametrize("name", NAMES)
def test_the_kits_key_is_the_contracts(name: str) -> None:
    """The Python publisher makes the key that the worker's own model makes."""
    assert routing_key(example(name)) == contract_event(example(name)).routing_key()
