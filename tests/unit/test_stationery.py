"""Templates and phrases: read once, overridden by files, faulty ones named."""

from pathlib import Path
from typing import Any

import pytest

from contracts.dead_letter import Reason
from tests.support.examples import SYSTEM, WORKFLOW, event_of, example
from worker.errors import PermanentError
from worker.render import Renderer
from worker.stationery import BUNDLED, Stationery, bundled

MAIL_FILES = {"subject.txt", "body.txt", "body.html"}


def written(folder: Path, files: dict[str, str]) -> Path:
    """A templates folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def texts(folder: Path | None, document: dict[str, Any]) -> list[tuple[str, str]]:
    """Subject and text of each mail of the event."""
    renderer = Renderer(default_sender=None, templates_dir=folder)
    event = event_of(document)
    letters = [renderer.render(event, addressee).letter for addressee in renderer.addressees(event)]
    return [(letter.subject, letter.text) for letter in letters]


def test_every_mail_has_a_subject_a_text_and_html() -> None:
    """A folder is a mail, and a mail is whole."""
    mails = {path.parent for path in BUNDLED.glob("*/*/*")}
    assert mails
    for mail in mails:
        assert {path.name for path in mail.iterdir()} == MAIL_FILES, mail.name


def test_every_bundled_template_compiles() -> None:
    """A fault would otherwise show only in the mail that needs it."""
    assert bundled()._compiled.keys() == bundled()._sources.keys()


def test_no_template_loads_anything_from_elsewhere() -> None:
    """No picture, style, font or script from another place, so that opening a mail tells nobody."""
    for path in BUNDLED.rglob("*.html"):
        source = path.read_text("utf-8")
        assert not [word for word in ("<img", "<script", "<link", "src=", "url(", "@import") if word in source]


def test_a_folder_of_texts_is_a_new_mail(tmp_path: Path) -> None:
    """A customer's own workflow event gets its own mail without a line of code; other mails stay."""
    mail = "workflow/acmeLegal.legalReview.escalate"
    files = {
        f"{mail}/subject.txt": "Escalated: {{ title }}\n",
        f"{mail}/body.txt": '{% extends "_base/body.txt" %}{% set paragraphs = ["Look at it."] %}',
        f"{mail}/body.html": '{% extends "workflow/default/body.html" %}',
    }
    own = written(tmp_path, files)
    document = example(WORKFLOW)
    document["data"]["workflow"] |= {
        "id": "AcmeLegal",
        "transition": {"event": "legalReview.escalate", "from": "legalReview"},
    }
    [(subject, text), _] = texts(own, document)
    assert subject.startswith("Escalated: Ailagor")
    assert "\n\nLook at it.\n\n" in text
    assert texts(own, example(WORKFLOW)) == texts(None, example(WORKFLOW))


def test_a_new_mail_keeps_the_identities_of_old_ones(tmp_path: Path) -> None:
    """What was sent before a template was added is known as sent after it."""
    own = written(tmp_path, {"workflow/contensisEntryApproval.draft.submit/subject.txt": "x"})
    event = event_of(example(WORKFLOW))
    before, after = (
        Renderer(default_sender=None, templates_dir=folder).addressees(event) for folder in (None, own)
    )
    assert after[0].variant == "workflow/contensisEntryApproval.draft.submit"
    assert [addressee.key for addressee in before] == [addressee.key for addressee in after]


def test_a_file_of_phrases_is_a_new_language(tmp_path: Path) -> None:
    """What it leaves out is said in English."""
    own = written(
        tmp_path, {"locales/fr.json": '{"greeting": "Bonjour {name},", "severity.warning": "Attention"}'}
    )
    document = example(SYSTEM)
    document["data"]["recipients"][0]["language"] = "FR-fr"
    [(subject, text), _] = texts(own, document)
    assert subject.startswith("Attention: Missed publishing schedule: ")
    assert text.startswith("Bonjour Helen,\n\nThe entry was due")


def test_a_phrase_can_be_replaced(tmp_path: Path) -> None:
    """One phrase, without copying the others."""
    own = written(tmp_path, {"locales/cy.json": '{"footer.automatic": "Cyngor Bro Ddu"}'})
    [_, (_, text)] = texts(own, example(SYSTEM))
    assert text.startswith("Helo Dylan,")
    assert text.endswith("\nCyngor Bro Ddu")


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        pytest.param("a\n\n{{ nobody }}", "system/message/body.txt:3: UndefinedError", id="undefined"),
        pytest.param("a\n{% if %}", "system/message/body.txt:2: TemplateSyntaxError", id="syntax"),
        pytest.param("{{ 1 / 0 }}", "system/message/body.txt:1: ZeroDivisionError", id="arithmetic"),
        pytest.param("\n{{ title + 1 }}", "system/message/body.txt:2: TypeError", id="type"),
        pytest.param("{{ title.nothing() }}", "system/message/body.txt:1: UndefinedError", id="attribute"),
        pytest.param("{{ [][0] }}", "system/message/body.txt:1: UndefinedError", id="index"),
        pytest.param("{{ title.__class__ }}", "system/message/body.txt:1: SecurityError", id="sandbox"),
        pytest.param('{% extends "nothing.txt" %}', "system/message/body.txt:1: TemplateNotFound", id="parent"),
        pytest.param('{{ text["no.such"] }}', "en-GB: no.such: there is no 'no.such'", id="phrase"),
        pytest.param('{{ text["workflow.submit.text"] }}', "there is no 'actor'", id="value"),
    ],
)
def test_a_faulty_template_fails_its_own_mails(tmp_path: Path, source: str, fault: str) -> None:
    """With the template, its line and the kind of error, but no value; other mails go out."""
    own = written(tmp_path, {"system/message/body.txt": source})
    with pytest.raises(PermanentError) as caught:
        texts(own, example(SYSTEM))
    assert caught.value.reason is Reason.TEMPLATE
    assert fault in caught.value.detail
    assert "Ŵyl" not in str(caught.value)
    assert texts(own, example(WORKFLOW)) == texts(None, example(WORKFLOW))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"{", "locales/fr.json is not JSON in UTF-8", id="json"),
        pytest.param(b'{"greeting": "\xff"}', "locales/fr.json is not JSON in UTF-8", id="utf-8"),
        pytest.param(b'["greeting"]', "locales/fr.json has to be one object of texts", id="list"),
        pytest.param(b'{"greeting": 1}', "locales/fr.json has to be one object of texts", id="number"),
        pytest.param(b'{"date.months": "janvier"}', "locales/fr.json has to have 12 names", id="months"),
    ],
)
def test_faulty_phrases_are_refused_at_once(tmp_path: Path, content: bytes, why: str) -> None:
    """They would touch every mail of a language."""
    (tmp_path / "locales").mkdir()
    (tmp_path / "locales" / "fr.json").write_bytes(content)
    with pytest.raises(PermanentError) as caught:
        Stationery(tmp_path)
    assert caught.value.detail.startswith(why)


def test_a_template_that_is_no_text_is_refused_at_once(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "subject.txt").write_bytes(b"\xff")
    with pytest.raises(PermanentError, match=r"subject\.txt is not UTF-8"):
        Stationery(tmp_path)


def test_a_missing_folder_is_refused_at_once(tmp_path: Path) -> None:
    """The setting is named."""
    with pytest.raises(PermanentError) as caught:
        Stationery(tmp_path / "nothing")
    assert caught.value.detail == "NOTIFY_TEMPLATES_DIR is not a folder that can be read"
    assert caught.value.settings == ("NOTIFY_TEMPLATES_DIR",)
