"""What is written to one person: in one language, or in two that come together."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.examples import FORM, NAMES, PASSWORD_RESET, SYSTEM, WORKFLOW, event_of, example
from worker.addressees import addressees
from worker.proofread import opened
from worker.render import Renderer
from worker.stationery import Stationery
from worker.template_files import TemplatesError, read
from worker.writing import Text, write

WELSH_FIRST: Final = Stationery(read(), bilingual=("cy", "en-GB"))
ENGLISH_FIRST: Final = Stationery(read(), bilingual=("en", "cy-GB"))
RULE: Final = "\n\n" + "=" * 72 + "\n\n"


def written(document: dict[str, Any], stationery: Stationery = WELSH_FIRST) -> list[Text]:
    """The mails of an event."""
    event = event_of(document)
    return [write(event, addressee, stationery) for addressee in addressees(event, stationery)]


@pytest.mark.parametrize("name", NAMES)
def test_each_half_of_a_bilingual_mail_is_the_mail_of_its_language(name: str) -> None:
    """Word by word; only the mark of a signature stands once, at the end."""
    alone = {language: _in_one(name, language) for language in ("cy", "en-GB")}
    for both, welsh, english in zip(written(_without_own_text(name)), *alone.values(), strict=True):
        first, second = both.text.split(RULE)
        assert first == "The English version is below.\n\n" + welsh.text.replace("\n\n-- \n", "\n\n")
        assert second == english.text
        assert both.subject == f"{welsh.subject} | {english.subject}"


def _without_own_text(name: str) -> dict[str, Any]:
    document = example(name)
    for email in document["data"].get("emails", ()):
        email |= {"subject": None, "body": None}
    return document


def _in_one(name: str, language: str) -> list[Text]:
    document = _without_own_text(name)
    for person in (*document["data"].get("recipients", ()), *document["data"].get("emails", ())):
        person["language"] = language
    document["data"].get("user", {})["language"] = language
    return written(document, Stationery(read()))


def test_a_bilingual_mail_is_one_document_of_two_sections() -> None:
    """Each section says its language; screen readers read each with its own voice."""
    [mail, _] = written(example(WORKFLOW))
    assert mail.html.count("<html") == mail.html.count("</html>") == mail.html.count("<body") == 1
    assert mail.html.count("<h1") == 2
    assert re.findall(r'<div[^>]* lang="([\w-]+)"', mail.html) == ["cy", "cy", "en-GB", "en-GB"]
    assert re.search(
        r'<p class="small muted"[^>]* lang="en-GB"[^>]*>The English version is below.</p>', mail.html
    )
    assert mail.html.index("Mae angen i chi gymeradwyo") < mail.html.index("An entry needs your approval")


def test_the_first_language_is_the_settings() -> None:
    """However the tags are spelt."""
    [mail, _] = written(example(WORKFLOW), ENGLISH_FIRST)
    assert mail.text.startswith("Mae’r fersiwn Gymraeg isod.\n\nHello Dylan,")
    assert mail.subject.startswith("Approval needed: ")


def test_a_subject_that_is_the_same_in_both_is_said_once() -> None:
    """A title that is not translated."""
    document = example(SYSTEM)
    document["data"]["message"] |= {"severity": "info", "title": "Contensis 17.2"}
    assert written(document)[0].subject == "Contensis 17.2"


def test_a_reader_of_a_third_language_gets_that(tmp_path: Path) -> None:
    """Two languages come together for those who read one of them."""
    (tmp_path / "locales").mkdir()
    (tmp_path / "locales" / "fr.json").write_text('{"greeting": "Bonjour {name},"}', encoding="utf-8")
    document = example(WORKFLOW)
    document["data"]["recipients"][0]["language"] = "fr"
    french, english = written(document, Stationery(read(tmp_path), bilingual=("cy", "en-GB")))
    assert french.text.startswith("Bonjour Dylan,")
    assert RULE not in french.text
    assert RULE in english.text


def test_text_that_a_rule_brings_stays_in_its_language() -> None:
    """Nobody has translated it."""
    *team, visitor = written(example(FORM))
    assert RULE in team[0].text
    assert RULE not in visitor.text
    assert visitor.subject == "Rydym wedi cael eich cais rhyddid gwybodaeth"


def test_the_header_names_both_languages() -> None:
    """RFC 3282 §2: a list."""
    renderer = Renderer(default_sender=None, stationery=WELSH_FIRST)
    event = event_of(example(PASSWORD_RESET))
    assert renderer.render(event, renderer.addressees(event)[0]).letter.language == "cy, en-GB"


def test_both_languages_need_phrases() -> None:
    """The setting is named, and what there is."""
    with pytest.raises(TemplatesError) as caught:
        opened(None, bilingual=("cy", "fr"))
    assert str(caught.value) == "NOTIFY_BILINGUAL: there are phrases for cy, en-GB, not fr"
