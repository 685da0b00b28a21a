"""Templates are tried before they are needed: faults are named with file, line and name, or passed over."""

from pathlib import Path
from typing import Final

import pytest

from worker.proofread import opened, proofread
from worker.stationery import bundled
from worker.template_files import TemplatesError

BASE = '{% extends "_base/body.txt" %}'


def written(folder: Path, files: dict[str, str]) -> Path:
    """A templates folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def faults(folder: Path) -> list[str]:
    """What is wrong with a folder of templates."""
    with pytest.raises(TemplatesError) as caught:
        opened(folder)
    return [str(fault) for fault in caught.value.faults]


def test_the_workers_own_templates_have_no_fault() -> None:
    """Every mail in every language, with all that an event may say and with no more than it has to."""
    assert proofread(bundled()) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        pytest.param("a\n\n{{ nobody }}", "line 3: there is no value named nobody", id="value"),
        pytest.param(
            "{% if message %}\n{{ mesage }}{% endif %}",
            "line 2: there is no value named mesage, but there is message",
            id="value-in-a-branch-no-example-takes",
        ),
        pytest.param("{{ actor }}", "line 1: there is no value named actor", id="value-of-another-family"),
        pytest.param("{{ range(3) }}", "line 1: there is no value named range", id="global"),
        pytest.param(
            '\n{{ text["footer.wy"] }}',
            "line 2: there is no phrase named footer.wy, but there is footer.why",
            id="phrase",
        ),
        pytest.param(
            '{{ text["no." ~ language] }}',
            "there is nothing for the phrase no.cy in cy",
            id="phrase-whose-name-is-made",
        ),
        pytest.param("{{ 1 / 0 }}", "line 1: ZeroDivisionError: division by zero", id="arithmetic"),
        pytest.param("\n{{ title + 1 }}", "line 2: TypeError: can only concatenate str", id="type"),
        pytest.param(
            "{{ title.nothing() }}",
            "line 1: UndefinedError: 'str object' has no attribute 'nothing'",
            id="attribute",
        ),
        pytest.param(
            "{{ title.__class__ }}",
            "line 1: SecurityError: access to attribute '__class__' of 'str' object is unsafe.",
            id="sandbox",
        ),
        pytest.param('{% extends "no.txt" %}', "line 1: TemplateNotFound: no.txt", id="parent"),
        pytest.param(
            BASE + "{% set paragraphs = 1 %}",
            "TypeError: 'int' object is not iterable (_base/body.txt, line 14)",
            id="a-value-that-its-parent-has-no-use-for",
        ),
        pytest.param("{% if %}", "line 1: Expected an expression", id="syntax"),
    ],
)
def test_a_faulty_template_is_refused_at_once(tmp_path: Path, source: str, fault: str) -> None:
    """With its file, its line, and the name that is wrong."""
    first, *_ = faults(written(tmp_path, {"system/message/body.txt": source}))
    assert first.startswith("system/message/body.txt")
    assert fault in first


def test_what_a_template_leaves_out_is_its_own_fault(tmp_path: Path) -> None:
    """Though it shows in the worker's file."""
    source = '{% extends "_base/body.html" %}{% set paragraphs = ["x"] %}'
    [fault] = faults(written(tmp_path, {"workflow/submit/body.html": source}))
    assert fault.startswith(
        "workflow/submit/body.html: UndefinedError: 'heading' is undefined (_base/body.html, "
    )


@pytest.mark.parametrize(
    ("key", "phrase", "missing"),
    [
        ("greeting", "Helo {nam},", "{nam} of the phrase greeting"),
        ("workflow.approve.subject", "{date}: {titel}", "{titel} of the phrase workflow.approve.subject"),
        ("date.pattern", "{day}.{mnth}.", "{mnth} of the phrase date.pattern"),
        ("why.approver", "{x}", "{x} of the phrase why.approver"),
    ],
)
def test_a_faulty_phrase_is_refused_at_once(tmp_path: Path, key: str, phrase: str, missing: str) -> None:
    """Its language's file is named, the phrase, and what stands in braces for nothing."""
    [fault] = faults(written(tmp_path, {"locales/cy.json": f'{{"{key}": "{phrase}"}}'}))
    assert fault == f"locales/cy.json: there is nothing for {missing} in cy"


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    """One of each line, however many mails, languages and examples meet it."""
    files = {
        "_base/body.txt": "\n{{ nobody }}\n{{ heading + 1 }}",
        "system/message/subject.txt": "{{ title }}{{ no_one }}",
        "locales/cy.json": '{"severity.warning": "{x}"}',
    }
    assert [fault.partition(":")[0] for fault in faults(written(tmp_path, files))] == [
        "_base/body.txt, line 2",
        "system/message/subject.txt, line 1",
        "locales/cy.json",
    ]


FAULTY: Final = {
    "system/message/subject.txt": "{{ nobody }}",
    "workflow/submit/body.html": "{% if",
    "workflow/acme.legal.check/subject.txt": "x",
    "workflow/acme.legal.check/body.txt": "{{ nobody }}",
    "workflow/acme.legal.check/body.html": "x",
    "locales/cy.json": "{",
    "locales/fr.json": '{"greeting": "Bonjour {nom},"}',
}
SOUND: Final = {
    "workflow/submit/subject.txt": "Please approve: {{ title }}",
    "locales/en-GB.json": '{"footer.automatic": "Broddu"}',
}


def test_faulty_files_are_passed_over_if_asked_for(tmp_path: Path) -> None:
    """The worker's own stand in for them, whole new mails are left out, and what is sound is used."""
    own = written(tmp_path, FAULTY | SOUND)
    stationery, passed_over = opened(own, fallback=True)
    assert stationery.files.own == SOUND.keys()
    assert {fault.file for fault in passed_over} >= FAULTY.keys() - {
        "workflow/acme.legal.check/subject.txt",
        "workflow/acme.legal.check/body.html",
    }
    assert stationery.languages == ("cy", "en-GB")
    assert stationery.render("workflow/submit/subject.txt", {"title": "News"}) == "Please approve: News"


def test_nothing_is_passed_over_where_nothing_is_wrong(tmp_path: Path) -> None:
    """The folder is used as it is."""
    stationery, passed_over = opened(written(tmp_path, SOUND), fallback=True)
    assert stationery.files.own == SOUND.keys()
    assert passed_over == ()


def test_a_folder_that_is_none_is_refused_all_the_same(tmp_path: Path) -> None:
    """There is no file to pass over."""
    with pytest.raises(TemplatesError, match="NOTIFY_TEMPLATES_DIR: this is not a folder"):
        opened(tmp_path / "nothing", fallback=True)


def test_without_a_folder_the_workers_own_are_used() -> None:
    """As most installations do."""
    stationery, passed_over = opened(None)
    assert (stationery.files, passed_over) == (bundled().files, ())


def test_a_page_around_two_languages_is_one_page(tmp_path: Path) -> None:
    """Whoever writes the page anew learns that it is filled once a language."""
    own = written(tmp_path, {"_base/body.html": "<html><head></head><body>{{ heading }}</body></html>"})
    assert opened(own)
    with pytest.raises(TemplatesError) as caught:
        opened(own, bilingual=("cy", "en-GB"))
    [fault] = caught.value.faults
    assert str(fault).startswith(
        "_base/body.html: a mail of two languages is two pages: begin one only if `opens`"
    )
