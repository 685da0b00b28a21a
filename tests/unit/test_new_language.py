"""Adding a language is adding one file of phrases: nothing that a mail says comes from anywhere else."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel, SecretStr

from contracts.events import Event
from tests.support.examples import SYSTEM, WORKFLOW, event_of, example
from worker.addressees import addressees, brings_text
from worker.proofread import opened
from worker.specimens import Specimen, sparse, specimens
from worker.stationery import Stationery, bundled
from worker.writing import Text, write

TOY: Final = "eo"
FROM_THE_RIGHT: Final = "he"
SPECIMENS: Final = [
    specimen
    for mail in bundled().mails
    for specimen in specimens(mail)
    if not brings_text(addressees(specimen.event)[0].entry)
]


def marked(phrase: str) -> str:
    """A phrase of a language in which every phrase can be told from what is no phrase."""
    return f"⟦{phrase}⟧"


@pytest.fixture(scope="module")
def stationery(tmp_path_factory: pytest.TempPathFactory) -> Stationery:
    """The worker's own, and two more languages."""
    folder = tmp_path_factory.mktemp("templates")
    english = bundled().files.phrases["en-GB"]
    phrases = {key: marked(phrase) for key, phrase in english.items()}
    phrases["date.months"] = ",".join(map(marked, english["date.months"].split(",")))
    (folder / "locales").mkdir()
    for language in (TOY, FROM_THE_RIGHT):
        (folder / "locales" / f"{language}.json").write_text(json.dumps(phrases), encoding="utf-8")
    found, _ = opened(folder)
    return found


def written(event: Event, language: str, stationery: Stationery) -> Text:
    """The first mail of the event in a language."""
    return write(event, replace(addressees(event)[0], languages=(language,)), stationery)


def said(part: Any) -> Iterator[str]:
    """All text that an event holds, as one line and as its lines."""
    if isinstance(part, BaseModel):
        part = [value for _, value in part]
    if isinstance(part, SecretStr):
        part = part.get_secret_value()
    if isinstance(part, str):
        yield from (" ".join(part.split()), *part.splitlines())
    elif isinstance(part, dict):
        yield from (text for key, value in part.items() for text in (key, *said(value)))
    elif isinstance(part, list | tuple):
        yield from (text for item in part for text in said(item))


class Words(HTMLParser):
    """The text of a page, without its style and its preview, which is the beginning of the text again."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.shown = True
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Knows what is shown."""
        self.shown = tag != "style" and ("class", "preheader") not in attrs

    def handle_data(self, data: str) -> None:
        """Keeps what is shown."""
        self.text += f" {data} " if self.shown else ""


def rest(text: str, event: Event) -> str:
    """What neither a phrase nor the event says."""
    for value in sorted(set(said(event)), key=len, reverse=True):
        text = text.replace(value, " ") if value else text
    while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", " ", text)) != text:
        text = shorter
    return text


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: f"{specimen.mail}-{specimen.kind}")
def test_every_word_of_a_mail_is_a_phrase_or_the_events(specimen: Specimen, stationery: Stationery) -> None:
    """In the subject, the text and the HTML; so no word is left in English, and no key shows."""
    for event in (specimen.event, sparse(specimen.event)):
        mail = written(event, TOY, stationery)
        for part in (mail.subject, mail.text, Words(mail.html).text):
            assert not re.findall(r"[^\W\d_]{2,}", rest(part, event)), part


def test_a_language_from_the_right_is_set_from_the_right(stationery: Stationery) -> None:
    """The page, its sides for programs that know no other, and each row; addresses stay as they are."""
    html = written(event_of(example(WORKFLOW)), FROM_THE_RIGHT, stationery).html
    assert '<html lang="he" dir="rtl">' in html
    assert 'align="left"' not in html
    assert html.count('align="right"') == 1 + html.count("<th ")
    assert 'dir="ltr"' in html[html.index("⟦If the button does not work") :]


def test_a_reader_gets_the_new_language_by_any_spelling_of_its_tag(stationery: Stationery) -> None:
    """With the month in its words, on the reader's clock."""
    document = example(WORKFLOW)
    document["data"]["recipients"][0] |= {"language": "EO-xx", "timezone": "Europe/London"}
    document["data"]["workflow"]["transition"]["event"] = "scheduledApprove"
    document["data"]["schedule"] = {"type": "publish", "dateTime": "2026-07-30T08:00:00Z"}
    event = event_of(document)
    reader = addressees(event, stationery)[0]
    assert reader.languages == (TOY,)
    assert "⟦30 ⟦July⟧ 2026 at 09:00 (BST)⟧" in write(event, reader, stationery).text


def test_what_a_language_leaves_out_is_said_in_english(tmp_path: Path) -> None:
    """A few phrases are a beginning."""
    (tmp_path / "locales").mkdir()
    few = {"greeting": "Bonjour {name},", "severity.warning": "Attention"}
    (tmp_path / "locales" / "fr.json").write_text(json.dumps(few), encoding="utf-8")
    document = example(SYSTEM)
    document["data"]["recipients"][0]["language"] = "FR-fr"
    event = event_of(document)
    found, _ = opened(tmp_path)
    mail = write(event, addressees(event, found)[0], found)
    assert mail.subject.startswith("Attention: Missed publishing schedule: ")
    assert mail.text.startswith("Bonjour Helen,\n\nThe entry was due")


def test_welsh_mails_have_no_english_in_them() -> None:
    """Nor a phrase that is English in the Welsh file."""
    english, welsh = (bundled().files.phrases[language] for language in ("en-GB", "cy"))
    same = {key for key in english if english[key] == welsh[key]}
    assert same == {"system.subject", "system.subject.flagged", "workflow.default.subject", "value.separator"}
