"""The files of templates: an installation's over the worker's, and what is no good said all at once."""

import json
from pathlib import Path

import pytest

from worker.template_files import BUNDLED, MAIL_FILES, STYLE_SHEET, TemplatesError, mails, read


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
        read(folder)
    return [str(fault) for fault in caught.value.faults]


def test_the_workers_own_mails_are_whole() -> None:
    """Each has a subject, a text and HTML."""
    files = read()
    assert len(mails(files.templates)) == 15
    assert not files.own


def test_any_single_file_can_be_replaced(tmp_path: Path) -> None:
    """A template, the style sheet, one phrase; all others stay the worker's."""
    own = {
        "workflow/submit/subject.txt": "S",
        STYLE_SHEET: "p { margin: 0 }",
        "locales/en-GB.json": '{"greeting": "Dear {name},"}',
    }
    files, before = read(written(tmp_path, own)), read()
    assert files.own == own.keys()
    assert files.templates == {
        **before.templates,
        "workflow/submit/subject.txt": "S",
        STYLE_SHEET: "p { margin: 0 }",
    }
    assert files.phrases["en-GB"] == {**before.phrases["en-GB"], "greeting": "Dear {name},"}
    assert files.phrases["cy"] == before.phrases["cy"]


def test_files_can_be_left_out(tmp_path: Path) -> None:
    """The worker's own are then in their place."""
    written(tmp_path, {"workflow/submit/subject.txt": "S", "locales/cy.json": "{"})
    assert read(tmp_path, without={"workflow/submit/subject.txt", "locales/cy.json"}) == read()


def test_a_language_is_known_by_any_spelling_of_its_tag(tmp_path: Path) -> None:
    """A file name is typed by people."""
    files = read(written(tmp_path, {"locales/CY_gb.json": "{}", "locales/En-gb.json": '{"greeting": "Hi"}'}))
    assert files.phrases.keys() == {"cy", "cy-GB", "en-GB"}
    assert files.phrases["en-GB"]["greeting"] == "Hi"


def test_hidden_files_and_other_kinds_are_not_read(tmp_path: Path) -> None:
    """What editors, version control and mounted configuration leave there."""
    files = {".git/x.txt": "{% if", "..data/workflow/x/subject.txt": "", "README.md": "", "a/.b.txt": ""}
    assert read(written(tmp_path, files)) == read()


def test_links_are_followed(tmp_path: Path) -> None:
    """Kubernetes mounts configuration as links into a hidden folder."""
    written(tmp_path, {"..2026/workflow/submit/subject.txt": "S"})
    (tmp_path / "workflow").symlink_to(tmp_path / "..2026" / "workflow")
    assert read(tmp_path).own == {"workflow/submit/subject.txt"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(
            b"{", "it is not JSON: Expecting property name enclosed in double quotes: line 1", id="json"
        ),
        pytest.param(b'{"greeting": "\xff"}', "it cannot be read as UTF-8: UnicodeDecodeError", id="utf-8"),
        pytest.param(b'["greeting"]', "it has to be one object of texts", id="list"),
        pytest.param(b'{"greeting": 1}', "it has to be one object of texts", id="number"),
        pytest.param(b'{"date.months": "janvier"}', "date.months has to be 12 names with commas", id="months"),
        pytest.param(
            b'{"greting": "a"}', "greting is no phrase of en-GB: correct the name, or say it in en-GB", id="key"
        ),
    ],
)
def test_faulty_phrases_are_refused_at_once(tmp_path: Path, content: bytes, why: str) -> None:
    """They would touch every mail of a language."""
    (tmp_path / "locales").mkdir()
    (tmp_path / "locales" / "fr.json").write_bytes(content)
    [fault] = faults(tmp_path)
    assert fault.startswith(f"locales/fr.json: {why}")


def test_a_new_phrase_is_said_in_english_too(tmp_path: Path) -> None:
    """Then every language has it."""
    phrases = json.dumps({"acme.heading": "x"})
    read(written(tmp_path, {"locales/cy.json": phrases, "locales/en-GB.json": phrases}))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(
            "worfklow/submit",
            "worfklow/submit: there is no such family: name the folder one of "
            "workflow, form, password-reset, system",
            id="family",
        ),
        pytest.param(
            "form/answer",
            "form/answer: form has no such mail: name the folder one of notification, autoResponder",
            id="mail-of-a-form",
        ),
        pytest.param(
            "password-reset/asked",
            "password-reset/asked: password-reset has no such mail: name the folder one of "
            "requested, forced, changed",
            id="mail-of-a-reset",
        ),
    ],
)
def test_a_mail_that_no_event_leads_to_is_refused(tmp_path: Path, name: str, fault: str) -> None:
    """A slip of the pen would otherwise be a mail that is never sent."""
    assert faults(written(tmp_path, {f"{name}/{file}": "x" for file in MAIL_FILES})) == [fault]


def test_one_mail_is_in_one_folder(tmp_path: Path) -> None:
    """Events are matched in any case, so of two such folders one would never be used."""
    assert faults(written(tmp_path, {f"workflow/Submit/{file}": "x" for file in MAIL_FILES})) == [
        "workflow/Submit: name the folder workflow/submit, in this case"
    ]


def test_a_new_mail_has_to_be_whole(tmp_path: Path) -> None:
    """What lacks is named."""
    assert faults(written(tmp_path, {"system/smtp.test/subject.txt": "x"})) == [
        "system/smtp.test/body.txt: it is missing, and a mail needs it",
        "system/smtp.test/body.html: it is missing, and a mail needs it",
    ]


def test_parts_that_mails_share_stand_apart(tmp_path: Path) -> None:
    """In a folder that begins with _, whatever they are called."""
    assert read(written(tmp_path, {"_own/x/body.txt": "x"})).own == {"_own/x/body.txt"}


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    """So that they are mended at once."""
    written(tmp_path, {"locales/cy.json": "[]", "form/x/subject.txt": "x"})
    (tmp_path / "form/x/body.txt").write_bytes(b"\xff")
    assert [fault.partition(":")[0] for fault in faults(tmp_path)] == [
        "form/x/body.txt",
        "locales/cy.json",
        "form/x",
    ]


def test_a_missing_folder_is_refused_at_once(tmp_path: Path) -> None:
    """The setting is named."""
    assert faults(tmp_path / "nothing") == ["NOTIFY_TEMPLATES_DIR: this is not a folder that can be read"]


def test_the_workers_own_folder_has_nothing_that_is_not_read() -> None:
    """A file of another kind would be shipped for nothing."""
    kinds = {path.suffix for path in BUNDLED.rglob("*") if path.is_file()}
    assert kinds == {".txt", ".html", ".json", ".css"}
