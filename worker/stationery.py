"""The mails' templates and phrases, read once: adding a mail or a language is adding text files.

`<family>/<variant>/{subject.txt,body.txt,body.html}` is a mail, `locales/<language>.json` a language. A second
folder may hold more of them, and others in place of these.
"""

import contextlib
import json
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from contracts.dead_letter import Reason
from worker.errors import PermanentError
from worker.look import Look
from worker.wording import FALLBACK, MONTHS, Wording, clean, language_tag, quoted

BUNDLED: Final = Path(__file__).parent / "templates"
SUFFIXES: Final = (".txt", ".html", ".css")
SUBJECT: Final = "subject.txt"
STYLE_SHEET: Final = "_base/style.css"

# A template is code: besides Jinja's own errors, these are what its expressions raise.
_FAULTS: Final = (jinja2.TemplateError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


class Stationery:
    """Compiled templates, and wordings by language.

    `overrides` is the folder of an installation's own files. Raises PermanentError (template) if it does not
    exist or holds a file that cannot be read. A template that does not compile fails the mails that need it.
    """

    def __init__(self, overrides: Path | None = None) -> None:
        roots = [BUNDLED] if overrides is None else [BUNDLED, _folder(overrides)]
        files = {name: path for root in roots for name, path in _files(root)}
        self.look = Look(_source(files.pop(STYLE_SHEET)))
        self._sources = {name: self._styled(name, _source(path)) for name, path in files.items()}
        self._environment = _environment(self._sources)
        self._variants = {
            _folded(name): _parent(name) for name in self._sources if name.endswith(f"/{SUBJECT}")
        }
        self._compiled = dict(self._compile())
        self.wordings = _wordings(roots)
        self.languages = tuple(sorted(self.wordings))

    def _styled(self, name: str, source: str) -> str:
        try:
            return self.look.inlined(source) if name.endswith(".html") else source
        except ValueError as error:
            raise PermanentError(Reason.TEMPLATE, f"{name}:{error}") from None

    def _compile(self) -> Iterator[tuple[str, jinja2.Template]]:
        for name in self._sources:
            with contextlib.suppress(jinja2.TemplateSyntaxError):
                yield name, self._environment.get_template(name)

    def variant(self, family: str, *names: str) -> str:
        """The folder of the first of `names`, in any case, that `family` has a mail for, else of the last."""
        folders = (self._variants.get(f"{family}/{name}".casefold()) for name in names)
        return next(filter(None, folders), f"{family}/{names[-1]}")

    def render(self, name: str, values: dict[str, object]) -> str:
        """The template `name` with `values`. Raises PermanentError (template), which repeats no value."""
        try:
            template = self._compiled.get(name) or self._environment.get_template(name)
            return str(template.make_module(values, shared=True))
        except _FAULTS as error:
            raise PermanentError(
                Reason.TEMPLATE, f"{self._place(error, name)}: {type(error).__name__}"
            ) from None

    def _place(self, error: Exception, name: str) -> str:
        """`<template>:<line>` the error comes from; the code of a template bears its name."""
        if isinstance(error, jinja2.TemplateSyntaxError):
            return f"{error.name}:{error.lineno}"
        for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
            if template := self._compiled.get(frame.f_code.co_filename):
                return f"{template.name}:{template.get_corresponding_lineno(line)}"
        return name


@cache
def bundled() -> Stationery:
    """The stationery that comes with the worker."""
    return Stationery()


def _environment(sources: Mapping[str, str]) -> jinja2.Environment:
    def load(name: str) -> tuple[str, str, None] | None:
        return (sources[name], name, None) if name in sources else None

    environment = ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        autoescape=lambda name: name is None or name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
        finalize=_sayable,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    environment.filters |= {"quoted": quoted, "lines": _lines}
    environment.globals.clear()  # `shared` contexts have none, which saves copying them for each mail
    return environment


def _lines(text: str) -> str:
    """Text with its line breaks as elements, since not every mail program knows `white-space`."""
    return Markup("<br>\n").join(clean(text).split("\n")) if "\n" in text or "\r" in text else text


def _sayable(value: object) -> object:
    """What a template puts out, without what no mail can carry."""
    return value if type(value) is not str or value.isprintable() else clean(value)


def _wordings(roots: list[Path]) -> dict[str, Wording]:
    phrases: dict[str, dict[str, str]] = {}
    for root in roots:
        for path in sorted(root.glob("locales/*.json")):
            phrases.setdefault(language_tag(path.stem) or path.stem, {}).update(_phrases(path))
    return {language: Wording(language, phrases[FALLBACK] | own) for language, own in phrases.items()}


def _phrases(path: Path) -> dict[str, str]:
    try:
        phrases = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:
        raise _unreadable(path, "is not JSON in UTF-8") from None
    if not isinstance(phrases, dict) or not all(isinstance(phrase, str) for phrase in phrases.values()):
        raise _unreadable(path, "has to be one object of texts")
    if len(phrases.get("date.months", "," * (MONTHS - 1)).split(",")) != MONTHS:
        raise _unreadable(path, f"has to have {MONTHS} names in date.months, with commas between them")
    return phrases


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        if path.suffix in SUFFIXES:
            yield path.relative_to(root).as_posix(), path


def _source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(path, "is not UTF-8") from None


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise PermanentError(Reason.TEMPLATE, "NOTIFY_TEMPLATES_DIR is not a folder that can be read")
    return path


def _unreadable(path: Path, why: str) -> PermanentError:
    return PermanentError(Reason.TEMPLATE, f"{path.parent.name}/{path.name} {why}")


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _folded(name: str) -> str:
    return _parent(name).casefold()
