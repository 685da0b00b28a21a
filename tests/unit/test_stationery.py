"""Templates and phrases: read once, overridden by files, faulty ones named."""

from pathlib import Path
from typing import Any

import pytest

from contracts.dead_letter import Reason
from tests.support.examples import SYSTEM, WORKFLOW, event_of, example
from worker.errors import PermanentError
from worker.render import Renderer
from worker.stationery import Stationery
from worker.template_files import BUNDLED, MAIL_FILES, TemplatesError, read


def written(folder: Path, files: dict[str, str]) -> Path:
    """A templates folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def mail(folder: str) -> dict[str, str]:
    """The files of a mail that says next to nothing."""
    return {f"{folder}/{file}": "x" for file in MAIL_FILES}


def texts(folder: Path | None, document: dict[str, Any]) -> list[tuple[str, str]]:
    """Subject and text of each mail of the event."""
    renderer = Renderer(default_sender=None, stationery=Stationery(read(folder)))
    event = event_of(document)
    letters = [renderer.render(event, addressee).letter for addressee in renderer.addressees(event)]
    return [(letter.subject, letter.text) for letter in letters]


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
    own = written(tmp_path, mail("workflow/contensisEntryApproval.draft.submit"))
    event = event_of(example(WORKFLOW))
    before, after = (
        Renderer(default_sender=None, stationery=Stationery(read(folder))).addressees(event)
        for folder in (None, own)
    )
    assert after[0].variant == "workflow/contensisEntryApproval.draft.submit"
    assert [addressee.key for addressee in before] == [addressee.key for addressee in after]


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
        pytest.param("{{ 1 / 0 }}", "system/message/body.txt:1: ZeroDivisionError", id="arithmetic"),
        pytest.param("\n{{ title + 1 }}", "system/message/body.txt:2: TypeError", id="type"),
        pytest.param("{{ title.nothing() }}", "system/message/body.txt:1: UndefinedError", id="attribute"),
        pytest.param("{{ [][0] }}", "system/message/body.txt:1: UndefinedError", id="index"),
        pytest.param("{{ title.__class__ }}", "system/message/body.txt:1: SecurityError", id="sandbox"),
        pytest.param('{% extends "nothing.txt" %}', "system/message/body.txt:1: TemplateNotFound", id="parent"),
        pytest.param(
            '{% extends "system/message/body.txt" %}', "body.txt:1: RecursionError", id="its-own-parent"
        ),
        pytest.param('{{ text["no.such"] }}', "there is nothing for the phrase no.such in en-GB", id="phrase"),
        pytest.param(
            '{{ text["workflow.submit.text"] }}',
            "there is nothing for {actor} of the phrase workflow.submit.text in en-GB",
            id="value",
        ),
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


def test_templates_that_do_not_compile_are_refused_at_once(tmp_path: Path) -> None:
    """All of them, each with its line."""
    faulty = {
        "system/message/body.txt": "a\n{% if %}",
        "workflow/submit/subject.txt": "{{ title | shout }}",
        "_base/body.html": "<p>\n\n{% endfor %}</p>",
        "_base/answers.html": "<table>\n<tr></tr></table>",
    }
    with pytest.raises(TemplatesError) as caught:
        Stationery(read(written(tmp_path, faulty)))
    assert sorted((fault.file, fault.line, fault.what.partition(":")[0]) for fault in caught.value.faults) == [
        ("_base/answers.html", 2, "HTML does not have <tr> here"),
        ("_base/body.html", 3, "Encountered unknown tag 'endfor'."),
        ("system/message/body.txt", 2, "Expected an expression, got 'end of statement block'"),
        ("workflow/submit/subject.txt", 1, "No filter named 'shout'."),
    ]
