"""Templates tried when they are loaded, before a mail needs them: with examples, in every language.

What fails here would fail a mail later. What no example leads to is looked through for names that nothing has.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from contracts.events import Event
from worker import template_names
from worker.addressees import Addressee, addressees
from worker.contents import PAGES, contents
from worker.specimens import sparse, specimens
from worker.stationery import Stationery, TemplateFaultError, bundled
from worker.template_files import (
    MAIL_FILES,
    STYLE_SHEET,
    Fault,
    Files,
    TemplatesError,
    is_locale,
    language_of,
    mail_of,
    names_in,
    read,
)
from worker.wording import FALLBACK, PhraseError, Wording
from worker.writing import write

PLAIN: Final = ("label.", "severity.", "state.", "value.", "why.")
"""Begins the names of phrases that are said without any value."""


def opened(
    folder: Path | None, *, fallback: bool = False, bilingual: tuple[str, ...] = ()
) -> tuple[Stationery, tuple[Fault, ...]]:
    """The worker's stationery with an installation's own files in place of some of it, or beside it.

    `bilingual` are the languages that come together, see `Stationery`. With `fallback` the worker's own stand
    in for files that are no good, whose faults come second. Raises TemplatesError for the faults that there are
    without `fallback`, all at once.
    """
    left = set(names_in(folder)) if folder else set()
    brought, faults = frozenset(left), list[Fault]()
    while True:
        try:
            return _proven(read(folder, without=brought - left), bilingual), tuple(faults)
        except TemplatesError as error:
            if not (fallback and left):
                raise
            faults += error.faults
            left -= {name for fault in error.faults for name in _to_pass_over(fault, left)}


def _proven(files: Files, bilingual: tuple[str, ...]) -> Stationery:
    stationery = Stationery(files, bilingual=bilingual)
    if files.own and (faults := proofread(stationery)):
        raise TemplatesError(faults)
    return stationery


def _to_pass_over(fault: Fault, names: Collection[str]) -> Collection[str]:
    """The file at fault, the others of its mail if it is none that there is, or all if that is none either."""
    if fault.file in names:
        return [fault.file]
    mail = mail_of(fault.file) or fault.file
    return [name for name in names if mail_of(name) == mail] or names


def proofread(stationery: Stationery) -> list[Fault]:
    """What is wrong with the stationery; of an installation's own files if there are any."""
    unknown = list(_unknown(stationery))
    known = {(fault.file, fault.line) for fault in unknown}
    failures = [fault for fault in _failures(stationery) if (fault.file, fault.line) not in known]
    return [*unknown, *dict.fromkeys(failures)]


def _failures(stationery: Stationery) -> Iterator[Fault]:
    for wording in stationery.wordings.values():
        yield from _said_plainly(wording, stationery.files.own)
    for mail in stationery.mails:
        for specimen in specimens(mail):
            for event in (specimen.event, sparse(specimen.event)):
                somebody = replace(addressees(event, stationery)[0], variant=mail)
                for language in stationery.languages:
                    yield from _tried(event, somebody, language, stationery)
        yield from _doubled(mail, stationery)


def _doubled(mail: str, stationery: Stationery) -> Iterator[Fault]:
    """A mail of two languages is one page, though its template is filled twice."""
    event = next(specimens(mail)).event
    reader = replace(addressees(event, stationery)[0], variant=mail, languages=stationery.bilingual)
    with suppress(PhraseError, TemplateFaultError):  # told already
        pages = write(event, reader, stationery).html.count("</html>") if stationery.bilingual else 1
        if pages != 1:
            base = {"_base/body.html", f"{mail}/body.html"} & stationery.files.own
            what = "a mail of two languages is two pages: begin one only if `opens`, end it only if `closes`"
            yield Fault(min(base, default=f"{mail}/body.html"), what)


def _said_plainly(wording: Wording, own: Collection[str]) -> Iterator[Fault]:
    for key in wording.keys:
        try:
            if key.startswith(PLAIN):
                wording.say({}, key)
        except PhraseError as error:
            yield _blamed(error, f"locales/{wording.language}.json", own)


def _tried(event: Event, addressee: Addressee, language: str, stationery: Stationery) -> Iterator[Fault]:
    own = stationery.files.own
    try:
        values = contents(event, addressee, language, stationery) | {"subject": ""}
    except (PhraseError, TemplateFaultError) as error:
        yield _blamed(error, addressee.variant, own)
        return
    for name in (f"{addressee.variant}/{file}" for file in MAIL_FILES):
        try:
            stationery.render(name, values)
        except (PhraseError, TemplateFaultError) as error:
            yield _blamed(error, name, own)


def _blamed(error: PhraseError | TemplateFaultError, tried: str, own: Collection[str]) -> Fault:
    """The fault, at the installation's file that is likeliest to mend: nobody mends the worker's own."""
    if isinstance(error, PhraseError):
        locales = [name for name in own if is_locale(name) and language_of(name) == error.language]
        return Fault((*locales, tried)[0], error.detail)
    fault = error.fault
    if fault.file in own or tried not in own:
        return fault
    return Fault(tried, f"{fault.what} ({fault.file}, line {fault.line})")


def _unknown(stationery: Stationery) -> Iterator[Fault]:
    """Values and phrases that are asked for and that there are none of, in whatever branch."""
    files = stationery.files
    trees = {name: stationery.parsed(name) for name in files.templates if name != STYLE_SHEET}
    given = _given(stationery)
    everywhere = frozenset({PAGES}).union(*given.values())
    assigned = {name for tree in trees.values() for name in template_names.assigned(tree)}
    for name in sorted(files.own & trees.keys()) if files.own else trees:
        values = given.get(mail_of(name).partition("/")[0], everywhere) | assigned
        yield from template_names.unknown_values(name, trees[name], values)
        yield from template_names.unknown_phrases(name, trees[name], files.phrases[FALLBACK])


def _given(stationery: Stationery) -> dict[str, frozenset[str]]:
    """Family -> the names of the values that its templates are given."""
    given = {}
    for mail in stationery.mails:
        event = next(specimens(mail)).event
        values = contents(event, addressees(event)[0], FALLBACK, bundled())
        given[mail.partition("/")[0]] = frozenset(values) | {"subject"}
    return given
