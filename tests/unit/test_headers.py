"""From event to header: one mail to one person, whatever control characters and addresses the event holds."""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.dead_letter import Reason
from tests.support.examples import FORM, NAMES, WORKFLOW, event_of, example
from worker.address import Mailbox
from worker.errors import PermanentError
from worker.mime import Letter, compose, needs_smtputf8
from worker.render import Renderer

RENDERER: Final = Renderer(default_sender=Mailbox("Contensis", "no-reply@contensis.com"))
FIELDS: Final = [
    "Date",
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Language",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "X-Contensis-Event-Id",
    "Content-Type",
]
OPTIONAL: Final = {"Reply-To", "In-Reply-To", "References"}

CONTROLS: Final = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, 0x202E)]
FRAGMENTS: Final = [
    "Bcc: x@evil.example",
    "\r\n",
    "\r\n\r\n",
    "\n ",
    "<x@evil.example>",
    ",",
    "=?utf-8?q?=0D=0A?=",
]
HOSTILE: Final = st.lists(
    st.one_of(st.sampled_from(CONTROLS), st.sampled_from(FRAGMENTS), st.text(max_size=3)),
    min_size=1,
    max_size=8,
).map("".join)


def letters(document: dict[str, Any]) -> Iterator[Letter]:
    """The letters that come of an event; the contract or the renderer may refuse it, or one of them."""
    try:
        event = event_of(document)
    except (ValidationError, UnicodeEncodeError):
        return
    for addressee in RENDERER.addressees(event):
        try:
            yield RENDERER.render(event, addressee).letter
        except PermanentError as refusal:
            assert refusal.reason in (Reason.RECIPIENT_REFUSED, Reason.INVALID_DATA, Reason.TEMPLATE)  # noqa: PT017


def read(letter: Letter) -> EmailMessage:
    """As the standard library's parser has it."""
    return message_from_bytes(compose(letter), _class=EmailMessage, policy=policy.default)


def leaves(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a string in a document: what holds it, and the key there."""
    places = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in places:
        if isinstance(value, str):
            yield node, key
        else:
            yield from leaves(value)


@pytest.mark.parametrize("name", NAMES)
@given(text=HOSTILE, data=st.data())
@settings(max_examples=100, deadline=None)
def test_no_text_of_an_event_makes_or_takes_a_header(name: str, text: str, data: st.DataObject) -> None:
    """The fields are ours, in our order, each once; the mail goes to one address."""
    document = example(name)
    places = list(leaves(document))
    for holder, key in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        holder[key] = data.draw(st.sampled_from([text, f"{holder[key]}{text}", f"{text}{holder[key]}"]))
    for letter in letters(document):
        message = read(letter)
        assert [field for field in FIELDS if field in message or field not in OPTIONAL] == message.keys()
        assert len(message["To"].addresses) == len(message["From"].addresses) == 1
        head = compose(letter).partition(b"\r\n\r\n")[0]
        assert all(re.match(rb"[A-Z][\w-]+: | ", line) for line in head.split(b"\r\n"))
        assert not set(head) & {*range(0x0A), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F}


@given(name=HOSTILE, family=HOSTILE)
@settings(max_examples=200, deadline=None)
def test_a_name_of_any_text_stays_a_name(name: str, family: str) -> None:
    """Quotes, brackets, commas, encoded words and controls in it change neither address nor number."""
    document = example(WORKFLOW)
    document["data"]["recipients"] = [
        {"email": "a@b.example", "reason": "approver", "firstName": name, "lastName": family}
    ]
    for letter in letters(document):
        [mailbox] = read(letter)["To"].addresses
        assert mailbox.addr_spec == "a@b.example"


@pytest.mark.parametrize(
    ("written", "sent", "raw"),
    [
        pytest.param("cymorth@llŷn.example", "cymorth@xn--lln-k2a.example", False, id="idn"),
        pytest.param("Cymorth <cymorth@LLŶN.example>", "cymorth@xn--lln-k2a.example", False, id="idn-and-name"),
        pytest.param("siân@broddu.example", "siân@broddu.example", True, id="local-part"),
        pytest.param("siân@llŷn.example", "siân@xn--lln-k2a.example", True, id="both"),
        pytest.param("Siân <s@broddu.example>", "s@broddu.example", False, id="name-only"),
    ],
)
def test_only_the_mail_to_a_local_part_beyond_ascii_needs_smtputf8(
    written: str, sent: str, *, raw: bool
) -> None:
    """Domains are punycode and names are encoded; the other mails of the event go to any server."""
    document = example(FORM)
    document["data"]["emails"] = [{"rule": "notification", "to": [written, "other@broddu.example"]}]
    first, second = letters(document)
    assert first.to.address == sent
    assert (needs_smtputf8(first), compose(first).isascii()) == (raw, not raw)
    assert not needs_smtputf8(second)
    assert compose(second).isascii()


@pytest.mark.parametrize(
    ("to", "reply_to"),
    [
        pytest.param("team@broddu.example", None, id="a-team-anybody-can-write-to"),
        pytest.param("siân@broddu.example", "wyn.llŷr@llyr.example", id="a-mail-that-needs-smtputf8-anyway"),
    ],
)
def test_no_mail_is_lost_for_where_answers_go(to: str, reply_to: str | None) -> None:
    """What a visitor typed must not keep a form's answers from its team; the address is among them too."""
    document = example(FORM)
    document["data"]["emails"] = [{"rule": "notification", "to": [to], "replyTo": "wyn.llŷr@llyr.example"}]
    [letter] = letters(document)
    assert (letter.reply_to.address if letter.reply_to else None) == reply_to
    assert needs_smtputf8(letter) is letter.to.needs_smtputf8
