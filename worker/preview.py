"""`preview`: mails as their readers will see them, written to files before anything is sent.

One page has them all, as text and as HTML at the width of a phone and of a desktop. It
loads nothing from elsewhere.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import jinja2

from contracts.events import Event
from worker.addressees import Addressee, brings_text
from worker.errors import PermanentError
from worker.mime import Letter, compose
from worker.publish import checked
from worker.render import Renderer
from worker.specimens import specimens
from worker.stationery import Stationery
from worker.template_files import VARIANTS
from worker.wording import nearest

INDEX: Final = "index.html"
WIDTHS: Final = (375, 700)
"""Of a phone and of a desktop's mail program, in pixels."""

SUFFIXES: Final = {"text": "txt", "html": "html", "eml": "eml"}

_PAGE: Final = Path(__file__).with_name("preview.html")

Languages = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """A mail to look at, or why there is none. `name` begins the names of its files."""

    name: str
    addressee: Addressee
    outcome: Letter | PermanentError


@dataclass(frozen=True, slots=True)
class Shown:
    """A preview and its files, `text`, `html` and `eml`; there are none for a mail that cannot be made."""

    preview: Preview
    files: Mapping[str, Path]


def chosen(what: str, renderer: Renderer, tags: Iterable[str]) -> Iterator[Preview]:
    """The mails of a family, a mail, the mails of the event in a file (`-` is standard input), or all of them.

    In the languages `tags`, or in every language there is. Raises ValueError for what there is not, and
    PermanentError for an event that is none.
    """
    languages = _languages(tuple(tags), renderer.stationery)
    mails = [mail for mail in renderer.stationery.mails if what in ("", mail, mail.partition("/")[0])]
    if mails:
        return of_mails(mails, renderer, languages)
    return of_event(checked(_content(what)), renderer, languages)


def _languages(tags: tuple[str, ...], stationery: Stationery) -> list[Languages]:
    available = stationery.languages
    found = [nearest(tag, available) for tag in tags] if tags else available
    if None in found:
        raise ValueError(f"There are phrases for {', '.join(available)}, not for {', '.join(tags)}.")
    return list(dict.fromkeys(stationery.together(language) for language in found if language))


def _content(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{file} is no family ({', '.join(VARIANTS)}), no mail such as workflow/submit, and no file that "
            f"can be read ({error.strerror})."
        ) from None


def of_mails(mails: Iterable[str], renderer: Renderer, languages: Iterable[Languages]) -> Iterator[Preview]:
    """The mails of these folders, `<family>/<variant>`, as the contract's examples lead to them."""
    languages = list(languages)
    for mail in mails:
        for specimen in specimens(mail):
            addressee = replace(renderer.addressees(specimen.event)[0], variant=mail)
            name = ".".join(filter(None, (mail.replace("/", "."), specimen.kind)))
            yield from _previews(specimen.event, addressee, name, renderer, languages)


def of_event(event: Event, renderer: Renderer, languages: Iterable[Languages]) -> Iterator[Preview]:
    """The mails of an event, each in every language."""
    languages = list(languages)
    for addressee in renderer.addressees(event):
        name = f"{addressee.index}.{addressee.variant.replace('/', '.')}"
        yield from _previews(event, addressee, name, renderer, languages)


def _previews(
    event: Event, addressee: Addressee, name: str, renderer: Renderer, languages: Iterable[Languages]
) -> Iterator[Preview]:
    """In every language; text that a rule brings along is in its own only."""
    for spoken in [addressee.languages] if brings_text(addressee.entry) else languages:
        reader = replace(addressee, languages=spoken)
        yield Preview(f"{name}.{'+'.join(spoken)}", reader, _outcome(event, reader, renderer))


def _outcome(event: Event, addressee: Addressee, renderer: Renderer) -> Letter | PermanentError:
    try:
        return renderer.render(event, addressee).letter
    except PermanentError as error:
        return error


def save(previews: Iterable[Preview], folder: Path) -> list[Shown]:
    """Writes the files of the previews into `folder`, and `index.html`, the page that shows them all."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = [_saved(preview, folder) for preview in previews]
    page = jinja2.Template(_PAGE.read_text("utf-8"), autoescape=True, undefined=jinja2.StrictUndefined)
    (folder / INDEX).write_text(page.render(shown=shown, widths=WIDTHS), encoding="utf-8")
    return shown


def _saved(preview: Preview, folder: Path) -> Shown:
    letter = preview.outcome
    if isinstance(letter, PermanentError):
        return Shown(preview, {})
    contents = {"text": letter.text.encode(), "html": letter.html.encode()}
    if letter.sender:
        contents["eml"] = compose(letter)
    files = {kind: folder / f"{preview.name}.{SUFFIXES[kind]}" for kind in contents}
    for kind, content in contents.items():
        files[kind].write_bytes(content)
    return Shown(preview, files)
