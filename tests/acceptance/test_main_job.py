"""The main job, with the worker as a process: an event in, the right mail out, or a dead letter saying why."""

import json
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage

from contracts.dead_letter import DeadLetter, rfc3339
from tests.acceptance.conftest import World
from tests.support.amqp import publish
from tests.support.examples import (
    FORM,
    NAMES,
    PASSWORD_RESET,
    SCHEDULED,
    SYSTEM,
    WORKFLOW,
    changed,
    fresh_example,
)

SCHEDULE_FREE = {name: value for name, value in fresh_example(SCHEDULED)["data"].items() if name != "schedule"}
LONG_AGO = rfc3339(datetime.now(UTC) - timedelta(hours=1))


def headers_of(message: AbstractIncomingMessage) -> DeadLetter:
    """What a dead letter's headers say."""
    return DeadLetter.from_headers(message.headers)


def content_of(mail: EmailMessage, kind: str) -> str:
    """The text or HTML of a mail."""
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


async def test_every_example_becomes_the_right_mails(world: World) -> None:
    """One mail a wanted recipient, in that person's language, with subject, text and HTML."""
    for name in NAMES:
        await world.publish(fresh_example(name))
    await world.worker()
    await world.smtp.until_accepted(9)
    subjects = {
        (mail["To"].addresses[0].addr_spec, mail["Content-Language"]): mail["Subject"] for mail in world.mails()
    }
    assert subjects.keys() == {
        ("d.pritchard@broddu.example", "cy"),
        ("h.okafor@broddu.example", "en-GB"),
        ("s.morgan@broddu.example", "cy"),
        ("s.morgan@broddu.example", "en-GB"),
        ("foi-request@broddu.example", "cy"),
        ("foi-tim@broddu.example", "cy"),
        ("wyn@llyr.example", "cy"),
    }
    assert subjects["s.morgan@broddu.example", "cy"] == "Ailosod eich cyfrinair Contensis"
    for mail in world.mails():
        assert content_of(mail, "plain").strip()
        assert "<h1" in content_of(mail, "html")
        assert mail["Auto-Submitted"].startswith("auto-")
    assert await world.dead_letters() == {}


@pytest.mark.parametrize(
    ("settings", "sentence", "code"),
    [
        pytest.param(
            {"EmailSmtpUseOAuth2": "true"},
            "OAuth2 authentication requires TLS",
            "oauth2-requires-tls",
            id="no TLS",
        ),
        pytest.param(
            {"EmailSmtpUseOAuth2": "true", "EmailSmtpUseSSL": "true"},
            "OAuth2 is enabled but neither EmailSmtpOAuth2AzureTenantId nor "
            "EmailSmtpOAuth2TokenEndpoint is configured",
            "oauth2-not-configured",
            id="neither tenant nor endpoint",
        ),
        pytest.param(
            {
                "EmailSmtpUseOAuth2": "true",
                "EmailSmtpUseSSL": "true",
                "EmailSmtpOAuth2AzureTenantId": "tenant",
                "EmailSmtpOAuth2ClientId": "client",
                "EmailSmtpOAuth2ClientSecret": "hunter22-secret",
                "NOTIFY_DEFAULT_FROM": "",
            },
            "Cannot determine OAuth2 username",
            "oauth2-username-unknown",
            id="no user name and no From",
        ),
        pytest.param({"EmailSMTPHost": ""}, "EmailSMTPHost is empty", "smtp-host-missing", id="no host"),
        pytest.param(
            {"NOTIFY_DEFAULT_FROM": ""}, "The email has no From address", "sender-missing", id="no sender"
        ),
    ],
)
async def test_a_wrong_setting_is_told_in_the_documented_words(
    world: World, settings: dict[str, str], sentence: str, code: str
) -> None:
    """Letter for letter in `notify-text`, through the real broker; the body untouched, no secret anywhere."""
    event = fresh_example(SYSTEM)
    await world.publish(event)
    worker = await world.worker(**settings)
    dead = await world.dead("config")
    letter = headers_of(dead)
    assert dead.headers["notify-text"] == sentence
    assert (letter.dead_class, letter.code, letter.owed) == ("config", code, "0-1")
    assert dead.body == json.dumps(event).encode()
    assert "hunter22" not in worker.text + json.dumps(dict(dead.headers), default=str)
    await worker.until_said(outcome="dead", times=2)
    assert await world.unfinished() == {}
    assert world.smtp.connections == 0
    assert any(sentence in line["text"] for line in worker.said(action="warn", code=code))


WORKFLOW_EVENT = fresh_example(WORKFLOW)
REFUSED = [
    pytest.param(
        {**WORKFLOW_EVENT, "type": "com.contensis.nix.v1"}, "poison", "unknown-type", "type", id="unknown type"
    ),
    pytest.param(
        {**WORKFLOW_EVENT, "specversion": "0.3"}, "poison", "envelope", "specversion", id="specversion 0.3"
    ),
    pytest.param({**WORKFLOW_EVENT, "id": ""}, "poison", "envelope", "id", id="empty id"),
    pytest.param(
        {**WORKFLOW_EVENT, "time": "2026-11-24T12:00:00"},
        "poison",
        "envelope",
        "time",
        id="time without offset",
    ),
    pytest.param(
        changed(WORKFLOW_EVENT, "data.recipients", []),
        "poison",
        "invalid-data",
        "data.recipients",
        id="no recipients",
    ),
    pytest.param(
        changed(fresh_example(FORM), "data.emails.0.to", []),
        "poison",
        "invalid-data",
        "data.emails.0.to",
        id="a form mail to nobody",
    ),
    *(
        pytest.param(
            changed(fresh_example(FORM), path, "a@b.example\r\nBcc: x@y.example"),
            "poison",
            "invalid-data",
            path,
            id=f"header injection in {path}",
        )
        for path in (
            "data.from",
            "data.replyTo",
            "data.emails.0.from",
            "data.emails.0.replyTo",
            "data.emails.1.subject",
        )
    ),
    pytest.param(
        {**fresh_example(SCHEDULED), "data": SCHEDULE_FREE},
        "poison",
        "invalid-data",
        "schedule is required",
        id="no schedule",
    ),
    pytest.param(
        changed(fresh_example(PASSWORD_RESET), "data.reset.url", None),
        "poison",
        "invalid-data",
        "url and expires are required",
        id="requested without url",
    ),
    pytest.param(
        changed(fresh_example(PASSWORD_RESET), "data.reset.expires", None),
        "poison",
        "invalid-data",
        "url and expires are required",
        id="requested without expires",
    ),
    pytest.param(
        changed(fresh_example(PASSWORD_RESET), "data.reset.expires", LONG_AGO),
        "exhausted",
        "expired",
        "",
        id="an old link",
    ),
    pytest.param(
        {**WORKFLOW_EVENT, "id": "old", "expirytime": LONG_AGO},
        "exhausted",
        "expired",
        "",
        id="expirytime in the past",
    ),
]


@pytest.mark.parametrize(("event", "queue", "code", "words"), REFUSED)
async def test_what_cannot_be_sent_becomes_a_dead_letter(
    world: World, event: dict[str, Any], queue: str, code: str, words: str
) -> None:
    """The code, the path of the fault, the bytes as they came; nothing is sent."""
    await world.publish(event, "workflow.test")
    await world.worker()
    dead = await world.dead(queue)
    assert headers_of(dead).code == code
    assert words in headers_of(dead).detail
    assert dead.body == json.dumps(event).encode()
    assert world.smtp.accepted == []


async def test_what_is_no_event_at_all_becomes_a_dead_letter(world: World) -> None:
    """Bytes of any kind, by any content type."""
    bodies = [(b"", None), (b"{", "application/json"), (b"\xff\x00", "application/cloudevents+json")]
    for body, content_type in bodies:
        await publish(world.channel, world.prefix, "form.x", body, content_type=content_type)
    await world.worker()
    letters = [await world.dead("poison") for _ in bodies]
    assert {letter.body for letter in letters} == {body for body, _ in bodies}
    assert {headers_of(letter).code for letter in letters} == {"envelope"}


async def test_binary_mode_is_as_good_as_structured_mode(world: World) -> None:
    """Attributes in headers, data in the body."""
    event = fresh_example(SYSTEM)
    headers = {f"cloudEvents:{name}": value for name, value in event.items() if name != "data"}
    await publish(
        world.channel,
        world.prefix,
        "system.warning.x",
        json.dumps(event["data"]).encode(),
        headers,
        content_type="application/json",
    )
    await world.worker()
    await world.smtp.until_accepted(2)


async def test_opted_out_recipients_get_nothing_and_chosen_approvers_do(world: World) -> None:
    """Everybody opted out is an outcome, not an error."""
    event = fresh_example(WORKFLOW)
    event["data"]["recipients"][0].update(reason="approver", optOutOfNotifications=True)
    event["data"]["recipients"][1].update(optOutOfNotifications=True)
    chosen = fresh_example(WORKFLOW)
    await world.publish(event)
    await world.publish(chosen)
    worker = await world.worker()
    await worker.until_said(outcome="suppressed", code="opted-out", times=2)
    await world.smtp.until_accepted(2)
    assert await world.dead_letters() == await world.unfinished() == {}


async def test_an_event_published_twice_is_sent_once(world: World) -> None:
    """`source` and `id` identify it."""
    event = fresh_example(SYSTEM)
    for _ in range(3):
        await world.publish(event)
    worker = await world.worker()
    await worker.until_said(outcome="suppressed", code="duplicate", times=4)
    assert world.recipients() == ["d.pritchard@broddu.example", "h.okafor@broddu.example"]


@pytest.mark.parametrize(
    ("language", "expected"), [("CY-gb", "cy"), ("fr-fr", "en-GB"), ("xx", "en-GB"), ("en-US", "en-GB")]
)
async def test_a_language_is_normalised_and_falls_back(world: World, language: str, expected: str) -> None:
    """Codes come in any case, and some have no templates."""
    event = changed(fresh_example(SYSTEM), "data.recipients.0.language", language)
    await world.publish(event)
    await world.worker()
    await world.smtp.until_accepted(2)
    languages = {mail["To"].addresses[0].addr_spec: mail["Content-Language"] for mail in world.mails()}
    assert languages["h.okafor@broddu.example"] == expected


async def test_a_custom_workflow_and_unknown_fields_are_no_errors(world: World) -> None:
    """The default mail is sent."""
    event = fresh_example(WORKFLOW)
    event["data"]["workflow"] = {
        "id": "acmeLegal",
        "state": "legalReview",
        "transition": {"event": "escalate", "from": "draft"},
        "colour": "blue",
    }
    await world.publish({**event, "extra": {"deep": [1]}})
    await world.worker()
    await world.smtp.until_accepted(2)
    assert any("legalReview" in mail["Subject"] for mail in world.mails())


async def test_hostile_text_reaches_no_header_and_no_markup(world: World) -> None:
    """Line breaks make no header; HTML is text; 998 characters, NUL and a lone surrogate survive."""
    event = fresh_example(WORKFLOW)
    event["data"]["resource"]["title"] = "A\r\nBcc: all@x.example\r\n\r\n<script>alert(1)</script>\u0000\ud800"
    event["data"]["workflow"]["transition"]["data"]["message"] = "<img src=x onerror=alert(1)>" + "x" * 998
    event["data"]["recipients"][1]["firstName"] = "Eve\r\nX-Evil: 1"
    await world.publish(event)
    await world.worker()
    await world.smtp.until_accepted(2)
    for mail, accepted in zip(world.mails(), world.smtp.accepted, strict=True):
        assert mail["Bcc"] is None
        assert mail["X-Evil"] is None
        assert len(accepted.recipients) == 1
        html = content_of(mail, "html")
        assert "<script" not in html
        assert "<img" not in html
        assert "&lt;script&gt;" in html
        assert max(map(len, accepted.content.split(b"\r\n"))) <= 998


async def test_one_refused_recipient_does_not_keep_the_others_from_their_mail(world: World) -> None:
    """Two delivered once, one dead letter that owes exactly the third."""
    event = fresh_example(WORKFLOW)
    event["data"]["recipients"].append({"email": "gone@broddu.example", "reason": "approver"})
    world.smtp.answer("RCPT", "550 5.1.1 <gone@broddu.example> unknown", to="gone@broddu.example")
    await world.publish(event)
    await world.worker()
    dead = await world.dead("exhausted")
    letter = headers_of(dead)
    assert (letter.dead_class, letter.code, letter.owed) == ("rejected", "recipient-refused", "2")
    assert "gone@broddu.example" not in letter.detail
    assert letter.detail.startswith("550 5.1.1")
    assert world.recipients() == ["d.pritchard@broddu.example", "h.okafor@broddu.example"]


async def test_delivered_refused_and_deferred_in_one_event(world: World) -> None:
    """Each is treated once: the copy in the tier owes the deferred one, comes back, and sends only that."""
    event = fresh_example(WORKFLOW)
    for name in ("refused", "deferred"):
        event["data"]["recipients"].append({"email": f"{name}@broddu.example", "reason": "approver"})
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to="refused@broddu.example")
    world.smtp.answer("RCPT", "450 4.2.1 try again later", to="deferred@broddu.example", times=3)
    await world.publish(event)
    worker = await world.worker()
    assert headers_of(await world.dead("exhausted")).owed == "2"
    await worker.until_said(outcome="retry", code="smtp-mailbox-unavailable")
    await worker.until_said(outcome="delivered", attempt=2)
    assert world.recipients() == [
        "d.pritchard@broddu.example",
        "deferred@broddu.example",
        "h.okafor@broddu.example",
    ]
    assert await world.dead_letters() == await world.unfinished() == {}


async def test_an_address_that_is_none_fails_alone(world: World) -> None:
    """A typing error of one is not the others' trouble."""
    event = changed(fresh_example(WORKFLOW), "data.recipients.0.email", "no address")
    await world.publish(event)
    await world.worker()
    assert headers_of(await world.dead("exhausted")).code == "recipient-refused"
    await world.smtp.until_accepted(1)
    assert world.recipients() == ["h.okafor@broddu.example"]
