"""What the demo expects of an event follows from the event alone."""

import json
from typing import Any

import pytest

from contracts.dead_letter import Reason
from contracts.events import EVENT
from deploy.local.expected import DeadLetter, Mail, dead_letter, mails
from deploy.local.scenario import example

SIAN = "s.morgan@broddu.example"
HELEN = "h.okafor@broddu.example"
DYLAN = "d.pritchard@broddu.example"


def expected(event: dict[str, Any]) -> list[Mail]:
    """The mails of an event given as JSON."""
    return mails(EVENT.validate_json(json.dumps(event)))


def submit_to(**recipient: Any) -> dict[str, Any]:
    """A workflow event for one person."""
    event = example("workflow-submit")
    event["data"]["recipients"] = [{"email": HELEN, "reason": "approver", **recipient}]
    return event


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("workflow-submit", [Mail(DYLAN, "cy"), Mail(HELEN, "en-GB")]),
        ("workflow-scheduled-approve", [Mail(SIAN, "en-GB")]),
        ("password-reset-requested", [Mail(SIAN, "cy")]),
        ("system-schedule-missed", [Mail(HELEN, "en-GB"), Mail(DYLAN, "cy")]),
        (
            "form-notification-and-autoresponder",
            [
                Mail("foi-request@broddu.example", "cy"),
                Mail("foi-tim@broddu.example", "cy"),
                Mail("wyn@llyr.example", "cy"),
            ],
        ),
    ],
)
def test_each_example_has_its_mails(name: str, wanted: list[Mail]) -> None:
    """One for each wanted recipient, bare address, own language."""
    assert expected(example(name)) == wanted


def test_who_opted_out_gets_none() -> None:
    """The notification settings are honoured where the reason does not override them."""
    assert expected(submit_to(optOutOfNotifications=True)) == []


@pytest.mark.parametrize(
    ("tag", "language"),
    [("cy", "cy"), ("CY-gb", "cy"), ("en-US", "en-GB"), ("fr-fr", "cy"), ("", "cy"), (None, "cy")],
)
def test_a_language_without_mails_gives_way_to_the_next(tag: str | None, language: str) -> None:
    """First the person's, then the entry's and the project's, which are Welsh here."""
    assert expected(submit_to(language=tag)) == [Mail(HELEN, language)]


def test_english_is_the_last_resort() -> None:
    """Nobody is left without a mail for want of a language."""
    event = submit_to(language="fr-fr")
    event["data"]["resource"]["language"] = event["data"]["project"]["primaryLanguage"] = "de"
    assert expected(event) == [Mail(HELEN, "en-GB")]


def test_an_address_listed_twice_gets_one_mail() -> None:
    """Within one list; a form's notification and auto-responder to one address are two."""
    event = example("form-notification-and-autoresponder")
    event["data"]["emails"] = [{"rule": rule, "to": [SIAN, SIAN]} for rule in ("notification", "autoResponder")]
    assert expected(event) == [Mail(SIAN, "cy"), Mail(SIAN, "cy")]


def test_a_dead_letter_has_the_documented_text() -> None:
    """The guide's sentence, letter for letter."""
    assert dead_letter(Reason.OAUTH2_REQUIRES_TLS) == DeadLetter(
        "config", "oauth2-requires-tls", "OAuth2 authentication requires TLS"
    )
