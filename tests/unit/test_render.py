"""Every example as the mail it becomes, and what an event cannot do to a mail."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.dead_letter import Reason
from contracts.events import Event, WorkflowEvent
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
from worker.address import Mailbox
from worker.errors import PermanentError
from worker.mime import File, compose
from worker.render import Mail, Renderer, addressees

SENDER: Final = Mailbox("Contensis", "no-reply@contensis.com")
RENDERER: Final = Renderer(default_sender=SENDER)
EXPECTED: Final = Path(__file__).parent / "mails"


def mails(document: dict[str, Any]) -> list[Mail]:
    """All mails of an event, wanted or not."""
    event = event_of(document)
    return [RENDERER.render(event, addressee) for addressee in addressees(event)]


def as_read(mail: Mail) -> str:
    """To, subject and text, as the expected mails are written down."""
    to, letter = mail.letter.to, mail.letter
    mailbox = f"{to.name} <{to.address}>" if to.name else to.address
    return f"To: {mailbox}\nSubject: {letter.subject}\n\n{letter.text}\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_example_becomes_its_mails(name: str) -> None:
    """One mail a person, each in full, in their own language."""
    expected = [path.read_text("utf-8") for path in sorted(EXPECTED.glob(f"{name}.*.txt"))]
    assert [as_read(mail) for mail in mails(example(name))] == expected


def transition(raised: str, *, message: str = "") -> dict[str, Any]:
    """A workflow example with another `state.event` raised, to one English reader."""
    document = example(WORKFLOW)
    document["data"]["workflow"]["transition"] = {
        "event": raised,
        "from": raised.partition(".")[0],
        "data": {"message": message},
    }
    document["data"]["schedule"] = {"type": "publish", "dateTime": "2026-07-30T08:00:00Z"}
    document["data"]["resource"]["title"] = "News"
    document["data"]["recipients"] = document["data"]["recipients"][1:]
    return document


@pytest.mark.parametrize(
    ("raised", "subject", "heading", "lead", "action"),
    [
        pytest.param(
            "declined.submit",
            "Approval needed: News",
            "An entry needs your approval",
            "Siân Morgan has changed “News” and sent it for approval again.",
            "Review the entry",
            id="again",
        ),
        pytest.param(
            "awaitingApproval.decline",
            "Declined: News",
            "Your entry was declined",
            "Siân Morgan has declined “News”. Make the changes and send it for approval again.",
            "Edit the entry",
            id="decline",
        ),
        pytest.param(
            "awaitingApproval.approve",
            "Approved and published: News",
            "Your entry is published",
            "Siân Morgan has approved “News” and it has been published.",
            "View the entry",
            id="approve",
        ),
        pytest.param(
            "draft.submitAndApprove",
            "Approved and published: News",
            "Your entry is published",
            "Siân Morgan has approved “News” and it has been published.",
            "View the entry",
            id="submit-and-approve",
        ),
        pytest.param(
            "draft.submitAndScheduledApprove",
            "Approved and scheduled: News",
            "Your entry is approved",
            "Siân Morgan has approved “News”. It will be published on 30 July 2026 at 09:00 (BST).",
            "View the entry",
            id="submit-and-scheduled",
        ),
        pytest.param(
            "awaitingApproval.revoke",
            "No longer needs approval: News",
            "No longer needs approval: News",
            "Siân Morgan has revoked the submission of “News”. You do not need to do anything.",
            "View the entry",
            id="revoke",
        ),
        pytest.param(
            "legalReview.escalate",
            "Awaiting approval: News",
            "Awaiting approval: News",
            "The workflow state of “News” has changed.",
            "View the entry",
            id="custom",
        ),
    ],
)
def test_each_workflow_event_has_its_words(
    raised: str, subject: str, heading: str, lead: str, action: str
) -> None:
    """Subject, heading, first sentence and button."""
    [mail] = mails(transition(raised))
    assert mail.letter.subject == subject
    assert mail.letter.text.startswith(f"Hello Helen,\n\n{lead}\n\n")
    assert f"\n\n{action}:\nhttps://cms-broddu.cloud.contensis.com/website/entries/" in mail.letter.text
    assert f">{heading}</h1>" in mail.letter.html
    assert f">{lead}</p>" in mail.letter.html
    assert f">{action}</a>" in mail.letter.html


def test_a_decline_gives_its_reason() -> None:
    """What the author of a decline wrote is its reason, not a message."""
    [mail] = mails(transition("awaitingApproval.decline", message="Not yet."))
    assert "\n\nReason:\n> Not yet.\n\n" in mail.letter.text


@pytest.mark.parametrize(
    ("action", "url", "text"),
    [
        pytest.param(
            "forced",
            None,
            """Hello Siân,

The next time you log in to Contensis, you will be asked to choose a new password.

Username: s.morgan

Your new password needs at least 8 characters and at least three of these: lowercase letters, \
uppercase letters, numbers, symbols. It must not contain parts of your name.
""",
            id="forced",
        ),
        pytest.param(
            "changed",
            "https://cms-broddu.cloud.contensis.com/",
            """Hello Siân,

If you did not make this change, contact your system administrator straight away.

Username: s.morgan
Date: 24 November 2026 at 11:30 (GMT)
""",
            id="changed",
        ),
    ],
)
def test_a_forced_and_a_changed_password_have_their_words(action: str, url: str | None, text: str) -> None:
    """Each names the account; neither needs a link."""
    document = example(PASSWORD_RESET)
    document["data"]["reset"] = {"action": action, "url": url}
    document["data"]["user"]["language"] = "en-GB"
    [mail] = mails(document)
    assert mail.letter.text.partition("\n-- \n")[0] == text


@pytest.mark.parametrize(
    ("severity", "subject"),
    [
        ("info", "Title"),
        ("note", "Title"),
        ("success", "Title"),
        ("warning", "Warning: Title"),
        ("error", "Error: Title"),
    ],
)
def test_the_subject_of_a_warning_or_an_error_says_so(severity: str, subject: str) -> None:
    """The others' is their title; the HTML names every severity."""
    document = example(SYSTEM)
    document["data"]["message"] |= {"severity": severity, "title": "Title"}
    mail = mails(document)[0]
    assert mail.letter.subject == subject
    assert f">{severity.title().replace('Info', 'Information')}</strong>" in mail.letter.html


def test_a_system_message_may_have_paragraphs_and_nothing_else() -> None:
    """No details, no button, no resource, nobody's name."""
    document = example(SYSTEM)
    document["data"]["message"] = {
        "code": "smtp.test",
        "title": "Test",
        "body": ["One.", {"en-GB": "Two.\nThree."}],
    }
    document["data"]["recipients"] = [{"email": "a@b.example", "reason": "systemAdministrator"}]
    [mail] = mails(document)
    assert mail.letter.text == (
        "Hello,\n\nOne.\n\nTwo.\nThree.\n\n-- \nWhy you received this: you are a system administrator.\n"
        "This is an automatic email from Contensis."
    )


def form_mail(rule: str, **email: Any) -> Mail:
    """The mail of a form's only rule."""
    document = example(FORM)
    document["data"]["emails"] = [{"rule": rule, "to": ["a@b.example"], "language": "en", **email}]
    return mails(document)[0]


TABLE_BLOCK: Final = {"type": "_formContentType", "value": {"contentType": {"id": "enquiryForm"}}}
ANSWERS: Final = "Your details\n------------\nName: Wyn ap Llŷr\n"


@pytest.mark.parametrize(
    ("rule", "body", "tables"),
    [
        pytest.param("notification", None, 1, id="notification"),
        pytest.param("notification", "Hi", 1, id="notification-with-text"),
        pytest.param(
            "notification", [TABLE_BLOCK, {"type": "_paragraph", "value": "Hi"}], 1, id="at-its-place"
        ),
        pytest.param("autoResponder", None, 1, id="answer"),
        pytest.param("autoResponder", " \n", 1, id="answer-with-blanks"),
        pytest.param("autoResponder", [], 1, id="answer-with-no-blocks"),
        pytest.param("autoResponder", "Hi", 0, id="answer-with-text"),
        pytest.param("autoResponder", [{"type": "_paragraph", "value": "Hi"}], 0, id="answer-with-blocks"),
        pytest.param("autoResponder", [TABLE_BLOCK, TABLE_BLOCK], 1, id="answer-with-the-table"),
    ],
)
def test_the_form_response_table_is_where_it_belongs(rule: str, body: Any, tables: int) -> None:
    """The team always gets it, the visitor with the default text or where the rule's own asks for it."""
    mail = form_mail(rule, body=body)
    assert mail.letter.text.count(ANSWERS) == tables
    assert mail.letter.html.count(">Your details</caption>") == tables


def test_only_the_team_gets_the_link_into_the_cms() -> None:
    """A visitor has no account there."""
    url = example(FORM)["data"]["resource"]["url"]
    team, visitor = form_mail("notification"), form_mail("autoResponder")
    assert url in team.letter.text
    assert url in team.letter.html
    assert url not in visitor.letter.text + visitor.letter.html


def test_a_rules_own_subject_and_text_have_the_answers_filled_in() -> None:
    """As plain text in the text, escaped in the HTML, on one line in the subject."""
    mail = form_mail(
        "autoResponder", subject="Re: {{ enquiry }} {{ nobody }}", body="Dear {{ name }},\n\n{{ enquiry }}"
    )
    assert mail.letter.subject.startswith("Re: Faint a wariwyd ar gynnal")
    assert mail.letter.subject.endswith("yn 2024/25? Diolch, Wyn <b>nid HTML yw hwn</b>")
    assert "Dear Wyn ap Llŷr,\n\nFaint" in mail.letter.text
    assert "Wyn <b>nid HTML yw hwn</b>\n" in mail.letter.text
    assert "Wyn &lt;b&gt;nid HTML yw hwn&lt;/b&gt;</p>" in mail.letter.html


def test_a_blank_subject_is_the_default_one() -> None:
    """A variable nobody answered leaves no mail without a subject."""
    mail = form_mail("notification", subject="{{ nobody }}")
    assert mail.letter.subject == "New response: Freedom of information request (EF 0227 0144 0067)"


def test_a_form_without_a_reference_field_is_referred_to_by_its_title() -> None:
    """The response's title is its reference."""
    document = example(FORM)
    document["data"]["form"]["fields"] = []
    assert mails(document)[0].letter.subject.endswith("(EF 0227 0144 0067)")


def test_a_broken_rule_names_itself_and_fails_alone() -> None:
    """The other mails of the event are rendered."""
    document = example(FORM)
    document["data"]["emails"][1]["body"] = "{% if name %}"
    event = event_of(document)
    team, _, visitor = addressees(event)
    assert RENDERER.render(event, team).letter.subject
    with pytest.raises(PermanentError) as caught:
        RENDERER.render(event, visitor)
    assert (caught.value.reason, caught.value.settings) == (Reason.TEMPLATE, ())
    assert caught.value.detail.startswith("data.emails[1]: ")


@pytest.mark.parametrize(
    ("default", "of_event", "of_rule", "sender"),
    [
        pytest.param(SENDER, None, None, "no-reply@contensis.com", id="default"),
        pytest.param(SENDER, "Wales <a@b.example>", None, "a@b.example", id="event"),
        pytest.param(None, "a@b.example", None, "a@b.example", id="event-without-a-default"),
        pytest.param(SENDER, "a@b.example", "c@d.example", "c@d.example", id="rule"),
        pytest.param(None, None, None, None, id="nobody"),
    ],
)
def test_the_sender_is_the_rules_the_events_or_the_default(
    default: Mailbox | None, of_event: str | None, of_rule: str | None, sender: str | None
) -> None:
    """The Message-ID is in the sender's domain; without a sender, in one that nobody can have."""
    document = example(FORM)
    document["data"]["from"] = of_event
    document["data"]["emails"][0]["from"] = of_rule
    event = event_of(document)
    addressee = addressees(event)[0]
    letter = Renderer(default_sender=default).render(event, addressee).letter
    assert (letter.sender.address if letter.sender else None) == sender
    assert letter.message_id == f"{addressee.key}@{sender.partition('@')[2] if sender else 'invalid'}"


@pytest.mark.parametrize(
    ("of_event", "of_rule", "address"),
    [(None, None, None), ("a@b.example", None, "a@b.example"), ("a@b.example", "c@d.example", "c@d.example")],
)
def test_replies_go_to_the_rules_or_the_events_address(
    of_event: str | None, of_rule: str | None, address: str | None
) -> None:
    """Or to the sender."""
    document = example(FORM)
    document["data"]["replyTo"] = of_event
    document["data"]["emails"][0]["replyTo"] = of_rule
    reply_to = mails(document)[0].letter.reply_to
    assert (reply_to.address if reply_to else None) == address


@pytest.mark.parametrize(("field", "value"), [("from", "a@-b-.example"), ("replyTo", "A <a@b..example>")])
def test_a_sender_that_is_no_mailbox_is_the_events_fault(field: str, value: str) -> None:
    """The field is named, the address is not."""
    document = example(WORKFLOW)
    document["data"][field] = value
    with pytest.raises(PermanentError) as caught:
        mails(document)
    assert caught.value.reason is Reason.INVALID_DATA
    assert caught.value.detail.startswith(f"data.{field}: ")
    assert "example" not in caught.value.detail.replace("name@example.com", "")


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "a b@c.example", "x <a@b.example>, c@d.example"])
def test_one_bad_address_fails_alone(address: str) -> None:
    """The others get their mail; the error does not repeat the address."""
    document = example(WORKFLOW)
    document["data"]["recipients"][0] |= {"email": address}
    event = event_of(document)
    bad, good = addressees(event)
    assert RENDERER.render(event, good).letter.to.address == "h.okafor@broddu.example"
    with pytest.raises(PermanentError) as caught:
        RENDERER.render(event, bad)
    assert caught.value.reason is Reason.RECIPIENT_REFUSED
    assert address not in str(caught.value)


def test_an_answer_to_what_somebody_sent_says_so() -> None:
    """RFC 3834: the auto-responder replies, everything else is generated."""
    assert [mail.letter.auto_submitted for mail in mails(example(FORM))] == ["auto-generated"] * 2 + [
        "auto-replied"
    ]
    assert mails(example(SYSTEM))[0].letter.auto_submitted == "auto-generated"


def test_the_workflow_mails_of_an_entry_are_one_thread() -> None:
    """Of one entry in one language; other mails are no threads."""
    [first, second] = mails(example(WORKFLOW))
    assert first.letter.thread == "entry-71f73a9b-2a13-4d63-bcc1-e8ee5047b01c-cy@contensis.com"
    assert first.letter.thread == second.letter.thread
    assert [mails(example(name))[0].letter.thread for name in (FORM, PASSWORD_RESET, SYSTEM)] == [None] * 3


def test_a_thread_is_made_of_safe_characters() -> None:
    """An entry's id comes from the event and goes into a header."""
    document = example(WORKFLOW)
    document["data"]["resource"] |= {"id": "a> <b@ŷ/_.-" + "x" * 999, "language": None}
    thread = mails(document)[0].letter.thread
    assert thread == "entry-ab_.-" + "x" * 59 + "@contensis.com"


def test_the_date_is_the_events() -> None:
    """A resend is the same mail."""
    assert mails(example(SYSTEM))[0].letter.date == datetime(2026, 11, 30, 9, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expirytime", "expires", "earlier"),
    [
        ("2026-11-24T12:00:00Z", "2026-11-24T12:30:00Z", datetime(2026, 11, 24, 12, tzinfo=UTC)),
        ("2026-11-24T13:00:00Z", "2026-11-24T12:30:00Z", datetime(2026, 11, 24, 12, 30, tzinfo=UTC)),
        (None, "2026-11-24T12:30:00Z", datetime(2026, 11, 24, 12, 30, tzinfo=UTC)),
    ],
)
def test_a_reset_mail_expires_with_its_link_or_its_event(
    expirytime: str | None, expires: str, earlier: datetime
) -> None:
    """Whichever comes first."""
    document = example(PASSWORD_RESET)
    document["expirytime"] = expirytime
    document["data"]["reset"]["expires"] = expires
    assert mails(document)[0].expires == earlier


def test_other_mails_expire_with_their_event() -> None:
    """Or never."""
    assert mails(example(SYSTEM))[0].expires is None
    document = example(SYSTEM) | {"expirytime": "2026-12-01T00:00:00Z"}
    assert mails(document)[0].expires == datetime(2026, 12, 1, tzinfo=UTC)


CONTENT: Final = b"%PDF-1.7"
INLINE: Final = {
    "filename": "cynllun ŷ.pdf",
    "contentType": "application/pdf",
    "contentBase64": base64.b64encode(CONTENT).decode(),
    "fileSize": len(CONTENT),
    "sha256": hashlib.sha256(CONTENT).hexdigest().upper(),
}


@pytest.mark.parametrize(
    ("name", "change", "count"),
    [
        pytest.param(WORKFLOW, {}, 2, id="workflow"),
        pytest.param(SYSTEM, {}, 2, id="system"),
        pytest.param(FORM, {"attachFiles": True}, 2, id="form-that-wants-them"),
        pytest.param(FORM, {}, 0, id="form-that-does-not"),
    ],
)
def test_files_are_attached_where_they_are_wanted(name: str, change: dict[str, Any], count: int) -> None:
    """A form's rule says so; the other families send what the event has."""
    document = example(name)
    document["data"]["attachments"] = [INLINE, INLINE | {"disposition": "inline", "contentId": "c1"}]
    for email in document["data"].get("emails", ()):
        email.update(change)
    files = (
        File("cynllun ŷ.pdf", "application/pdf", CONTENT),
        File("cynllun ŷ.pdf", "application/pdf", CONTENT, inline=True, content_id="c1"),
    )
    assert mails(document)[0].letter.files == files[:count]


@pytest.mark.parametrize(
    ("attachment", "why"),
    [
        pytest.param(
            {"filename": "a", "url": "https://cms-broddu.cloud.contensis.com/a"},
            "attachments by URL are not fetched: no host is allowed",
            id="url",
        ),
        pytest.param(
            INLINE | {"fileSize": 7}, "data.attachments[0]: the content is not of its fileSize", id="size"
        ),
        pytest.param(
            INLINE | {"sha256": "0" * 64},
            "data.attachments[0]: the content does not match its sha256",
            id="sha256",
        ),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(attachment: dict[str, Any], why: str) -> None:
    """Nothing is fetched from anywhere, and nothing cut short is sent."""
    document = example(WORKFLOW)
    document["data"]["attachments"] = [attachment]
    with pytest.raises(PermanentError) as caught:
        mails(document)
    assert (caught.value.reason, caught.value.detail) == (Reason.ATTACHMENT_REFUSED, why)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("approver", "To stop these emails, open your user profile"),
        ("submitter", "To stop these emails, open your user profile"),
        ("chosenApprover", "This email is sent whatever your notification settings are."),
        ("contentOwner", "This email is sent whatever your notification settings are."),
    ],
)
def test_a_workflow_mail_says_whether_it_can_be_turned_off(reason: str, line: str) -> None:
    """By the same rule that decides about opting out."""
    document = example(WORKFLOW)
    document["data"]["recipients"] = [{"email": "a@b.example", "reason": reason, "language": "en-GB"}]
    [mail] = mails(document)
    assert line in mail.letter.text
    assert line in mail.letter.html


def test_html_names_its_language_and_direction() -> None:
    """For the reader's program and for screen readers."""
    welsh, english = mails(example(WORKFLOW))
    assert '<html lang="cy" dir="ltr">' in welsh.letter.html
    assert '<html lang="en-GB" dir="ltr">' in english.letter.html
    assert (welsh.letter.language, english.letter.language) == ("cy", "en-GB")


def test_arabic_text_is_written_from_the_right() -> None:
    """A rule's own text in Arabic; the footer stays in a language there are phrases for."""
    mail = form_mail("autoResponder", language="ar", body="شكرا {{ name }}")
    assert mail.letter.language == "ar"
    assert '<html lang="ar" dir="rtl">' in mail.letter.html
    assert re.search(r'<div class="footer [^>]* lang="cy"', mail.letter.html)
    assert re.search(r'<div class="footer [^>]* dir="ltr"', mail.letter.html)


def test_what_people_wrote_in_arabic_is_written_from_the_right() -> None:
    """In a mail of another language: the entry's message, a form's answers."""
    workflow, form = example(WORKFLOW), example(FORM)
    workflow["data"]["resource"]["language"] = form["data"]["resource"]["language"] = "ar"
    assert '<blockquote class="quote" dir="rtl"' in mails(workflow)[1].letter.html
    assert '<td dir="rtl"' in mails(form)[0].letter.html


def test_the_preview_of_a_mail_is_its_first_sentence() -> None:
    """Hidden in the mail, shown in lists of mails."""
    html = mails(example(SCHEDULED))[0].letter.html
    assert re.search(r'<div class="preheader" style="display:none;[^"]*">Helen Okafor has approved “', html)


def test_without_an_address_there_is_no_button() -> None:
    """A resource need not have one."""
    document = example(WORKFLOW)
    del document["data"]["resource"]["url"]
    mail = mails(document)[0]
    assert "https:" not in mail.letter.text
    assert "<a " not in mail.letter.html


def test_the_reset_link_is_in_the_mail_and_nowhere_else() -> None:
    """No error or representation of a value that a log may show."""
    [mail] = mails(example(PASSWORD_RESET))
    assert "token=0000-not-a-real-token-0000" in mail.letter.text
    assert "token=0000-not-a-real-token-0000" in mail.letter.html
    assert "0000-not" not in repr(addressees(event_of(example(PASSWORD_RESET))))


HOSTILE: Final = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x="',
    "line-break": "a\r\nBcc: victim@b.example\r\n\r\n<html>",
    "jinja": "{{ 7 * 7 }}{% for x in y %}",
    "format": "{title}{0}{actor.__class__}%s",
    "right-to-left": "\u202e\u05d0\u0645\u202c \u2066x",
    "long-line": "x" * 998,
    "long-with-blanks": "ŷ " * 2000,
    "nul": "a\0b\x07\x1b[2J",
    "surrogate": "a\ud800b\udfff",
    "separators": "a\u2028b\u2029c\x85d",
    "nothing": "",
    "blank": " \n ",
}


EXPECTED_REFUSALS: Final = frozenset({Reason.RECIPIENT_REFUSED, Reason.INVALID_DATA, Reason.TEMPLATE})


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every string below `node`."""
    if isinstance(node, str):
        yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from leaves(child, (*path, key))


def replaced(node: Any, path: tuple[Any, ...], text: str) -> Any:
    """A copy of `node` with `text` at `path`."""
    if not path:
        return text
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(node[path[0]], path[1:], text)
    return copy


class Checked(HTMLParser):
    """Fails on what an event must never get into a mail."""

    VOID: Final = frozenset({"meta", "br"})
    ALLOWED: Final = (
        "html head meta title style body div table tbody tr td th caption p h1 strong a br blockquote"
    )

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Our own elements, no handlers, links to the web only."""
        assert tag in self.ALLOWED.split()
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "x")]
        assert all(
            (value or "").lower().startswith(("http://", "https://")) for name, value in attrs if name == "href"
        )
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The innermost."""
        assert self.open.pop() == tag


def check(mail: Mail) -> None:
    """What holds for every mail, whatever its event said."""
    letter = mail.letter
    checked = Checked()
    checked.feed(letter.html)
    checked.close()
    assert checked.open == []
    assert len(letter.subject.splitlines()) <= 1
    for text in (letter.subject, letter.text, letter.html):
        assert not {"\0", "\x07", "\x1b", "\r", "\ud800"} & set(text)
        text.encode()
    assert letter.text.splitlines().count("-- ") >= 1
    assert "\n\n-- \n" in letter.text
    compose(letter)


def refusals(document: dict[str, Any]) -> Iterator[Reason]:
    """Why mails of the event are refused; those that are not are checked, and the contract may refuse all."""
    try:
        event: Event = event_of(document)
    except ValidationError:
        return
    for addressee in addressees(event):
        try:
            mail = RENDERER.render(event, addressee)
        except PermanentError as refusal:
            yield refusal.reason
        else:
            check(mail)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", NAMES)
def test_no_text_of_an_event_breaks_out(name: str, text: str) -> None:
    """In every field that holds text, one after another."""
    document = example(name)
    document["data"]["attachments"] = []
    for path in leaves(document["data"], ("data",)):
        assert EXPECTED_REFUSALS.issuperset(refusals(replaced(document, path, text)))


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(st.sampled_from("<>&\"'{}%/ab \r\n\0\u202e\u2028ŷ\ud800@,;:-")), data=st.data())
@settings(max_examples=100, deadline=None)
def test_no_two_texts_break_out_together(name: str, text: str, data: st.DataObject) -> None:
    """Any text in any two fields."""
    document = example(name)
    paths = st.sampled_from(list(leaves(document["data"], ("data",))))
    for path in (data.draw(paths), data.draw(paths)):
        document = replaced(document, path, text)
    assert EXPECTED_REFUSALS.issuperset(refusals(document))


def test_a_lone_surrogate_is_replaced() -> None:
    """The contract's own parser refuses one, but an event read leniently may hold it."""
    event = event_of(example(WORKFLOW))
    assert isinstance(event, WorkflowEvent)
    resource = event.data.resource.model_copy(update={"title": "a\ud800b"})
    broken = event.model_copy(update={"data": event.data.model_copy(update={"resource": resource})})
    mail = RENDERER.render(broken, addressees(broken)[1])
    assert mail.letter.subject == "Approval needed: a\ufffdb"
    check(mail)


def test_a_mail_cannot_be_forged_by_a_title() -> None:
    """A line break in a title is a blank in the sentence, the rows and the subject."""
    document = example(WORKFLOW)
    document["data"]["resource"]["title"] = "News\n\n-- \nCall 0900"
    mail = mails(document)[1]
    assert mail.letter.subject == "Approval needed: News -- Call 0900"
    assert "has sent “News -- Call 0900” for approval." in mail.letter.text


def test_json_of_any_depth_is_answered() -> None:
    """An answer may be any JSON the contract takes."""
    document = example(FORM)
    document["data"]["response"] = {"deep": json.loads("[" * 90 + "]" * 90), "big": 10**300}
    assert f"big: 1{'0' * 300}\n" in mails(document)[0].letter.text
