"""Previews: every mail in every language as files, on one page that shows what would be sent."""

import json
import re
from email import message_from_bytes
from email.policy import default as parsed
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from contracts.dead_letter import Reason
from tests.support.examples import FORM, WORKFLOW, event_of, example
from worker.address import Mailbox
from worker.errors import PermanentError
from worker.preview import Preview, chosen, of_event, of_mails, save
from worker.render import Renderer
from worker.stationery import Stationery
from worker.template_files import read

RENDERER = Renderer(default_sender=Mailbox("Contensis", "no-reply@contensis.com"))
BOTH = Renderer(default_sender=None, stationery=Stationery(read(), bilingual=("cy", "en-GB")))
LANGUAGES = [("cy",), ("en-GB",)]


def names(previews: Any) -> list[str]:
    """What the previews are called."""
    return [preview.name for preview in previews]


@pytest.mark.parametrize(
    ("what", "count"),
    [("", 39), ("workflow", 18), ("form", 5), ("password-reset", 6), ("system", 10), ("workflow/decline", 2)],
)
def test_a_family_or_a_mail_is_shown_in_every_language(what: str, count: int) -> None:
    """By the events that lead to it; text that a rule brings along in its own language only."""
    assert len(names(chosen(what, RENDERER, ()))) == count


def test_an_event_is_shown_for_each_of_its_readers_in_every_language(tmp_path: Path) -> None:
    """Whatever language they would get."""
    file = tmp_path / "event.json"
    file.write_text(json.dumps(example(WORKFLOW)), encoding="utf-8")
    assert names(chosen(str(file), RENDERER, ())) == [
        "0.workflow.submit.cy",
        "0.workflow.submit.en-GB",
        "1.workflow.submit.cy",
        "1.workflow.submit.en-GB",
    ]


def test_languages_can_be_chosen_by_any_spelling_of_their_tag() -> None:
    """As a reader's language is."""
    assert names(chosen("workflow/submit", RENDERER, ["CY-gb"])) == ["workflow.submit.cy"]


def test_languages_that_come_together_are_shown_together() -> None:
    """As they would be sent."""
    assert names(chosen("workflow/submit", BOTH, ())) == ["workflow.submit.cy+en-GB"]
    assert names(chosen("workflow/submit", BOTH, ["en"])) == ["workflow.submit.cy+en-GB"]


@pytest.mark.parametrize(
    ("what", "tags", "why"),
    [
        ("workfow", [], "workfow is no family (workflow, form, password-reset, system), no mail such as "),
        ("", ["fr"], "There are phrases for cy, en-GB, not for fr."),
    ],
)
def test_what_there_is_not_is_said(what: str, tags: list[str], why: str) -> None:
    """With what there is."""
    with pytest.raises(ValueError, match=re.escape(why)):
        chosen(what, RENDERER, tags)


def test_an_event_that_is_none_is_refused(tmp_path: Path) -> None:
    """As the worker would refuse it."""
    file = tmp_path / "event.json"
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(PermanentError) as caught:
        chosen(str(file), RENDERER, ())
    assert caught.value.reason is Reason.ENVELOPE


def test_a_preview_is_a_text_a_page_and_a_mail(tmp_path: Path) -> None:
    """The text and the HTML as they are, and the whole mail for a mail program."""
    [shown] = save(of_mails(["workflow/revoke"], RENDERER, [("cy",)]), tmp_path / "new" / "folder")
    letter = shown.preview.outcome
    assert not isinstance(letter, PermanentError)
    assert shown.files["text"].read_text("utf-8") == letter.text
    assert shown.files["html"].read_text("utf-8") == letter.html
    mail = message_from_bytes(shown.files["eml"].read_bytes(), policy=parsed)
    assert mail["Subject"] == letter.subject
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {
        "index.html",
        *(path.name for path in shown.files.values()),
    }


def test_without_a_sender_there_is_no_mail_to_open(tmp_path: Path) -> None:
    """The page says so."""
    [shown] = save(of_mails(["workflow/revoke"], BOTH, [("cy",)]), tmp_path)
    assert shown.files.keys() == {"text", "html"}
    assert "neither the event nor NOTIFY_DEFAULT_FROM names one" in (tmp_path / "index.html").read_text("utf-8")


class Page(HTMLParser):
    """What the page shows and loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.frames: list[dict[str, str | None]] = []
        self.elements: set[str] = set()
        self.addresses: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes it."""
        self.elements.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action")]
        if tag == "iframe":
            self.frames.append(dict(attrs))


def test_the_page_shows_each_mail_at_both_widths(tmp_path: Path) -> None:
    """In frames that run nothing, and it loads nothing from elsewhere."""
    shown = save(of_event(event_of(example(WORKFLOW)), RENDERER, LANGUAGES), tmp_path)
    page = Page((tmp_path / "index.html").read_text("utf-8"))
    letters = [item.preview.outcome for item in shown]
    assert [(frame["width"], frame["srcdoc"]) for frame in page.frames] == [
        (width, letter.html)
        for letter in letters
        for width in ("375", "700")
        if not isinstance(letter, PermanentError)
    ]
    assert {frame["sandbox"] for frame in page.frames} == {"allow-same-origin"}
    assert not {"img", "link", "object", "embed"} & page.elements
    assert all(address and address.startswith("#") for address in page.addresses)


def test_what_strangers_type_stays_text_on_the_page(tmp_path: Path) -> None:
    """The page is opened from a file, and a form's answers are anybody's."""
    document = example(FORM)
    document["data"]["resource"]["title"] = "</title><script>alert(1)</script>"
    document["data"]["form"] |= {"name": '"><script>alert(1)</script>', "fields": []}
    save(of_event(event_of(document), RENDERER, LANGUAGES), tmp_path)
    assert "<script>alert" not in (tmp_path / "index.html").read_text("utf-8")


def test_a_mail_that_cannot_be_made_is_shown_as_its_dead_letter(tmp_path: Path) -> None:
    """The others of the event are shown all the same, and who opted out is told."""
    document = example(WORKFLOW)
    document["data"]["recipients"][0]["email"] = "nobody"
    document["data"]["recipients"][1]["optOutOfNotifications"] = True
    shown = save(of_event(event_of(document), RENDERER, [("cy",)]), tmp_path)
    assert [bool(item.files) for item in shown] == [False, True]
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "It cannot be made and becomes a dead letter, recipient-refused." in page
    assert "It is not sent: this person opted out." in page


def test_no_two_previews_have_one_name() -> None:
    """Or one would hide the other."""
    found = names(chosen("", RENDERER, ()))
    assert len(set(found)) == len(found)
    assert all(isinstance(preview, Preview) for preview in chosen("", RENDERER, ()))
