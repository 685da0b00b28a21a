"""The mails' templates and phrases, ready for use: adding a mail or a language is adding text files.

Which files there are is told by `template_files`; whether they make mails is found out by `proofread`.
"""

import traceback
from collections.abc import Mapping
from functools import cache
from typing import Final

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from contracts.dead_letter import Reason
from worker.errors import PermanentError
from worker.look import ElementsError, Look
from worker.template_files import STYLE_SHEET, Fault, Files, TemplatesError, mails, read
from worker.wording import FALLBACK, Wording, clean, nearest, quoted

BILINGUAL: Final = "NOTIFY_BILINGUAL"
"""The setting that says which languages come together."""

# A template is code: besides Jinja's own errors, these are what its expressions raise.
_FAULTS: Final = (
    jinja2.TemplateError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)


class TemplateFaultError(PermanentError):
    """A template failed. The message has place and kind only; `fault` also says what, which may be a value."""

    def __init__(self, fault: Fault, kind: str) -> None:
        super().__init__(Reason.TEMPLATE, f"{fault.file}:{fault.line}: {kind}")
        self.fault = fault


class Stationery:
    """Compiled templates, wordings by language, and the look of it all.

    A mail in one of the languages `bilingual` is in all of them, in that order. Raises TemplatesError for
    templates that do not compile, all faults at once, and for a language without phrases.
    """

    def __init__(self, files: Files, *, bilingual: tuple[str, ...] = ()) -> None:
        self.files = files
        self.look = Look(files.templates[STYLE_SHEET])
        self.wordings = {
            language: Wording(language, {**files.phrases[FALLBACK], **phrases})
            for language, phrases in files.phrases.items()
        }
        self.languages = tuple(sorted(self.wordings))
        self.bilingual = tuple(_spoken(language, self.languages) for language in bilingual)
        self.mails = mails(files.templates)
        self._folders = {mail.casefold(): mail for mail in self.mails}
        faults: list[Fault] = []
        self._environment = _environment(self._styled(faults))
        self._templates = self._compiled(faults)
        if faults:
            raise TemplatesError(faults)

    def together(self, language: str) -> tuple[str, ...]:
        """The languages of a mail that begins with, or at least has, `language`."""
        return self.bilingual if language in self.bilingual else (language,)

    def variant(self, family: str, *names: str) -> str:
        """The folder of the first of `names`, in any case, that `family` has a mail for, else of the last."""
        folders = (self._folders.get(f"{family}/{name}".casefold()) for name in names)
        return next(filter(None, folders), f"{family}/{names[-1]}")

    def render(self, name: str, values: dict[str, object]) -> str:
        """The template `name` with `values`. Raises TemplateFaultError."""
        try:
            return str(self._templates[name].make_module(values, shared=True))
        except _FAULTS as error:
            kind, message = type(error).__name__, str(error)
            raise TemplateFaultError(self._place(error, name, f"{kind}: {message}"), kind) from None

    def _place(self, error: Exception, name: str, what: str) -> Fault:
        """Where the error comes from; the code of a template bears its name."""
        for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
            if template := self._templates.get(frame.f_code.co_filename):
                return Fault(str(template.name), what, template.get_corresponding_lineno(line))
        return Fault(name, what)

    def parsed(self, name: str) -> nodes.Template:
        """The syntax of a template, on the lines of its file."""
        return self._environment.parse(self.files.templates[name], name)

    def _styled(self, faults: list[Fault]) -> dict[str, str]:
        """The templates' sources, HTML with the look on its elements."""
        sources = {name: source for name, source in self.files.templates.items() if name != STYLE_SHEET}
        for name, source in sources.items():
            try:
                if name.endswith(".html"):
                    sources[name] = self.look.inlined(source)
            except ElementsError as error:
                faults.append(Fault(name, str(error), error.line))
        return sources

    def _compiled(self, faults: list[Fault]) -> dict[str, jinja2.Template]:
        templates = {}
        for name in self.files.templates.keys() - {STYLE_SHEET}:
            try:
                templates[name] = self._environment.get_template(name)
            except jinja2.TemplateSyntaxError as error:
                faults.append(Fault(name, str(error.message), error.lineno))
        return templates


@cache
def bundled() -> Stationery:
    """The stationery that comes with the worker."""
    return Stationery(read())


def _spoken(language: str, available: tuple[str, ...]) -> str:
    found = nearest(language, available)
    if found is None:
        raise TemplatesError(
            [Fault(BILINGUAL, f"there are phrases for {', '.join(available)}, not {language}")]
        )
    return found


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
    if "\n" not in text and "\r" not in text:
        return text
    return Markup(str(escape(clean(text))).replace("\n", "<br>\n"))  # noqa: S704 - the text is escaped


def _sayable(value: object) -> object:
    """What a template puts out, without what no mail can carry."""
    return value if type(value) is not str or value.isprintable() else clean(value)
