"""Every mail has an event that leads to it, as the contract's own examples would say it."""

import pytest
from pydantic import BaseModel

from contracts.events import EVENT
from worker.addressees import addressees
from worker.specimens import Specimen, sparse, specimens
from worker.stationery import bundled

ALL = [specimen for mail in bundled().mails for specimen in specimens(mail)]


def label(specimen: Specimen) -> str:
    """How a test is called."""
    return f"{specimen.mail}-{specimen.kind}"


@pytest.mark.parametrize("specimen", ALL, ids=label)
def test_a_specimen_leads_to_its_mail(specimen: Specimen) -> None:
    """The first mail of it, so that its templates are the ones tried."""
    assert addressees(specimen.event)[0].variant == specimen.mail
    assert addressees(sparse(specimen.event))[0].variant == specimen.mail


@pytest.mark.parametrize(
    ("mail", "state", "workflow"),
    [
        pytest.param("workflow/submit", "draft", "contensisEntryApproval", id="event"),
        pytest.param("workflow/declined.submit", "declined", "contensisEntryApproval", id="state-and-event"),
        pytest.param(
            "workflow/acmeLegal.review.escalate", "review", "acmeLegal", id="workflow-state-and-event"
        ),
        pytest.param("workflow/escalate", "legalReview", "contensisEntryApproval", id="an-event-of-a-customer"),
    ],
)
def test_a_workflow_mail_of_ones_own_has_a_specimen(mail: str, state: str, workflow: str) -> None:
    """Its folder's name says when it is sent."""
    [specimen] = specimens(mail)
    data = EVENT.dump_python(specimen.event, by_alias=True)["data"]["workflow"]
    assert (data["id"], data["transition"]["from"]) == (workflow, state)
    assert f"workflow/{data['transition']['event']}" == f"workflow/{mail.rpartition('/')[2].rpartition('.')[2]}"


def test_a_system_mail_of_ones_own_has_a_specimen() -> None:
    """Its folder's name is a code."""
    [specimen] = specimens("system/smtp.test")
    assert EVENT.dump_python(specimen.event)["data"]["message"]["code"] == "smtp.test"


def test_the_mail_of_all_codes_comes_in_every_severity() -> None:
    """As previews show it."""
    kinds = [specimen.kind for specimen in specimens("system/message")]
    assert kinds == ["info", "note", "success", "warning", "error"]
    assert len({repr(specimen.event) for specimen in specimens("system/message")}) == len(kinds)


@pytest.mark.parametrize("specimen", ALL, ids=label)
def test_a_sparse_event_says_nothing_that_may_be_left_out(specimen: Specimen) -> None:
    """Templates have to do with that too."""
    fewer = sparse(specimen.event)
    assert sparse(fewer) == fewer
    assert len(fields_set(fewer)) < len(fields_set(specimen.event))
    assert EVENT.validate_python(EVENT.dump_python(fewer)) == fewer


def fields_set(part: object) -> list[str]:
    """The names of all that is said, at any depth."""
    if isinstance(part, tuple):
        return [name for item in part for name in fields_set(item)]
    if not isinstance(part, BaseModel):
        return []
    return [*part.model_fields_set, *(name for _, value in part for name in fields_set(value))]
