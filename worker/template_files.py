"""The files that mails are made of: the worker's own, and an installation's in place of these or beside them.

`<family>/<variant>/{subject.txt,body.txt,body.html}` is a mail, `locales/<language>.json` a language,
`_base/style.css` the look. Folders that begin with `_` hold parts that mails share.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from worker.wording import FALLBACK, MONTHS, language_tag

BUNDLED: Final = Path(__file__).parent / "templates"
SETTING: Final = "NOTIFY_TEMPLATES_DIR"
STYLE_SHEET: Final = "_base/style.css"
MAIL_FILES: Final = ("subject.txt", "body.txt", "body.html")
VARIANTS: Final[Mapping[str, tuple[str, ...]]] = {
    "workflow": (),
    "form": ("notification", "autoResponder"),
    "password-reset": ("requested", "forced", "changed"),
    "system": (),
}
"""Families of mails -> the variants that a family can have, where it cannot have any."""

Phrases = Mapping[str, str]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a file of templates; `line` counts from 1."""

    file: str
    what: str
    line: int | None = None

    def __str__(self) -> str:
        """One sentence, the file first."""
        return f"{self.file}, line {self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class TemplatesError(Exception):
    """Templates that mails cannot be made with; `faults` are all that were found."""

    def __init__(self, faults: Collection[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True, slots=True)
class Files:
    """What the files hold: templates and the style sheet by name, phrases by language.

    `own` are the names of the files that an installation brought.
    """

    templates: Mapping[str, str]
    phrases: Mapping[str, Phrases]
    own: frozenset[str] = frozenset()


def mail_of(name: str) -> str:
    """The folder of the mail that a file of this name is of; empty for a file of none."""
    folder, _, file = name.rpartition("/")
    is_mail = file in MAIL_FILES and folder.count("/") == 1 and not folder.startswith("_")
    return folder if is_mail else ""


def mails(names: Iterable[str]) -> list[str]:
    """The folders of all mails among files of these names, `<family>/<variant>`."""
    return sorted({mail_of(name) for name in names} - {""})


def read(folder: Path | None = None, *, without: Collection[str] = ()) -> Files:
    """The worker's own files, and over them those of `folder` but for the names in `without`.

    A template takes the place of the worker's; phrases are added to the worker's. Raises TemplatesError for
    what cannot be read or is no mail, with all faults at once.
    """
    bundled, brought = _found(BUNDLED), _found(folder) if folder else {}
    own = {name: path for name, path in brought.items() if name not in without}
    faults: list[Fault] = []
    templates = _each(
        _text, {name: path for name, path in (bundled | own).items() if not is_locale(name)}, faults
    )
    said = [
        _each(_phrases, {name: path for name, path in paths.items() if is_locale(name)}, faults)
        for paths in (bundled, own)
    ]
    faults += [*_odd_mails(templates, bundled), *_unknown_phrases(*said)]
    if faults:
        raise TemplatesError(faults)
    return Files(templates, _by_language(said), frozenset(own))


def names_in(folder: Path) -> list[str]:
    """The names of the files below `folder` that are read. Raises TemplatesError if that is no folder."""
    return list(_found(folder))


def _found(root: Path) -> dict[str, Path]:
    """Name -> path of the files below `root`. Links are followed: mounted configuration is made of them."""
    if not root.is_dir():
        raise TemplatesError([Fault(SETTING, "this is not a folder that can be read")])
    found = {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            found[path.relative_to(root).as_posix()] = path
    return {name: found[name] for name in sorted(found) if _is_text(name)}


def _is_text(name: str) -> bool:
    return is_locale(name) or name.endswith((".txt", ".html")) or name == STYLE_SHEET


def is_locale(name: str) -> bool:
    """Whether a file holds the phrases of a language."""
    return name.startswith("locales/") and name.endswith(".json")


def _each(parse: Callable[[Path], T], paths: Mapping[str, Path], faults: list[Fault]) -> dict[str, T]:
    """Name -> what `parse` reads; a fault more for each file for which it raises ValueError."""
    parsed = {}
    for name, path in paths.items():
        try:
            parsed[name] = parse(path)
        except ValueError as error:
            faults.append(Fault(name, str(error)))
    return parsed


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it cannot be read as UTF-8: {type(error).__name__}") from None


def _phrases(path: Path) -> Phrases:
    try:
        phrases = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(phrases, dict) or not all(isinstance(phrase, str) for phrase in phrases.values()):
        raise ValueError("it has to be one object of texts")
    if len(phrases.get("date.months", "," * (MONTHS - 1)).split(",")) != MONTHS:
        raise ValueError(f"date.months has to be {MONTHS} names with commas between them")
    return phrases


def _by_language(said: Iterable[Mapping[str, Phrases]]) -> dict[str, Phrases]:
    """Language -> its phrases, later files over earlier ones."""
    languages: dict[str, dict[str, str]] = {}
    for locales in said:
        for name, phrases in locales.items():
            languages.setdefault(language_of(name), {}).update(phrases)
    return dict(languages)


def language_of(name: str) -> str:
    """The language that `locales/<language>.json` is for."""
    stem = Path(name).stem
    return language_tag(stem) or stem


def _odd_mails(templates: Collection[str], bundled: Collection[str]) -> Iterator[Fault]:
    """Mails that no event leads to, and mails that are not whole."""
    usual = {mail.casefold(): mail for mail in mails(bundled)}
    for mail in mails(templates):
        family, _, variant = mail.partition("/")
        variants = VARIANTS.get(family)
        if mail != usual.get(mail.casefold(), mail):
            yield Fault(mail, f"name the folder {usual[mail.casefold()]}, in this case")
        elif variants is None:
            yield Fault(mail, f"there is no such family: name the folder one of {', '.join(VARIANTS)}")
        elif variants and variant not in variants:
            yield Fault(mail, f"{family} has no such mail: name the folder one of {', '.join(variants)}")
        else:
            missing = [file for file in MAIL_FILES if f"{mail}/{file}" not in templates]
            yield from (Fault(f"{mail}/{file}", "it is missing, and a mail needs it") for file in missing)


def _unknown_phrases(bundled: Mapping[str, Phrases], own: Mapping[str, Phrases]) -> Iterator[Fault]:
    """A phrase of one language only is a slip of the pen, or would be missing in all others."""
    known = {
        key
        for name, phrases in (*bundled.items(), *own.items())
        if language_of(name) == FALLBACK
        for key in phrases
    }
    for name, phrases in own.items():
        for key in sorted(phrases.keys() - known):
            yield Fault(
                name, f"{key} is no phrase of {FALLBACK}: correct the name, or say it in {FALLBACK} too"
            )
