"""What the mails say: the language for a reader, the phrases of that language, and dates in its words.

A language is one file of phrases; whatever it leaves out is said in English.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo

from contracts.dead_letter import Reason
from contracts.events import Localized
from worker.address import one_line
from worker.errors import PermanentError

FALLBACK: Final = "en-GB"
UTC: Final = ZoneInfo("UTC")
REPLACEMENT: Final = "\ufffd"
MAX_ZONE_CHARACTERS: Final = 64
MONTHS: Final = 12

_RIGHT_TO_LEFT: Final = frozenset(
    {"ar", "ckb", "dv", "fa", "he", "ks", "mzn", "nqo", "ps", "sd", "syr", "ug", "ur", "yi"}
)
_SCRIPTS_FROM_THE_RIGHT: Final = frozenset({"Adlm", "Arab", "Hebr", "Nkoo", "Syrc", "Thaa"})
_SCRIPT_LETTERS: Final = 4
_TAG: Final = re.compile(r"[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*")
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_LINE_END: Final = re.compile(r"\r\n?")
_UNSAYABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` without what no mail can carry: control characters go, a lone surrogate becomes U+FFFD."""
    if text.isprintable() or text.replace("\n", "").isprintable():
        return text
    return _SURROGATE.sub(REPLACEMENT, _UNSAYABLE.sub("", _LINE_END.sub("\n", text)))


def flat(text: str) -> str:
    """`text` on one line, for sentences and table rows; nearly all of it is already."""
    return text if text.isprintable() else one_line(clean(text))


def quoted(text: str) -> str:
    """`text`, clean, with each line behind `> `, as mail programs quote."""
    return "\n".join(f"> {line}" for line in clean(text).splitlines())


def language_tag(text: str) -> str | None:
    """`CY-gb` -> `cy-GB`: the usual spelling of a language tag; None for what is none."""
    if not _TAG.fullmatch(text.strip()):
        return None
    language, *subtags = text.strip().replace("_", "-").split("-")
    return "-".join(
        [language.lower(), *(s.title() if len(s) == _SCRIPT_LETTERS else s.upper() for s in subtags)]
    )


def nearest(wanted: str, available: tuple[str, ...]) -> str | None:
    """Which of `available` a reader of `wanted` gets: `cy-GB` -> `cy`, `en-US` -> `en`, else `en-GB`.

    None if there is nothing in that language.
    """
    if wanted in available:
        return wanted
    tag = language_tag(wanted)
    if tag is None:
        return None
    language = _language(tag)
    tags = {language_tag(name) or "": name for name in reversed(available)}
    kin = {other: name for other, name in tags.items() if _language(other) == language}
    return next((kin[choice] for choice in (tag, language, FALLBACK, *kin) if choice in kin), None)


def choose(chain: Iterable[str | None], available: tuple[str, ...]) -> str:
    """The first language of `chain` that there is something for, else English."""
    return next((found for wanted in chain if wanted and (found := nearest(wanted, available))), FALLBACK)


@lru_cache(maxsize=1024)
def direction(language: str) -> Literal["ltr", "rtl"]:
    """Which way `language`, a tag, is written: as its script is, if it names one, such as `az-Arab`."""
    scripts = [subtag.title() for subtag in language.split("-")[1:] if len(subtag) == _SCRIPT_LETTERS]
    from_the_right = scripts[0] in _SCRIPTS_FROM_THE_RIGHT if scripts else _language(language) in _RIGHT_TO_LEFT
    return "rtl" if from_the_right else "ltr"


def start(language: str) -> Literal["left", "right"]:
    """The side at which lines in `language` begin, for mail programs that know only sides."""
    return "right" if direction(language) == "rtl" else "left"


def _language(tag: str) -> str:
    return tag.partition("-")[0].lower()


def time_zone(name: str | None) -> ZoneInfo:
    """The zone of an IANA name; UTC where it is missing or unknown."""
    return _zone(name) if name and len(name) <= MAX_ZONE_CHARACTERS else UTC


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all, such as `../x`; a folder of zones
        return UTC


class PhraseError(PermanentError):
    """`missing` is a phrase that `language` has not, or a value that the phrase `key` asks for in vain."""

    def __init__(self, language: str, key: str, missing: str) -> None:
        what = f"{{{missing}}} of the phrase {key}" if missing != key else f"the phrase {key}"
        super().__init__(Reason.TEMPLATE, f"there is nothing for {what} in {language}")
        self.language = language
        self.key = key


class Wording:
    """The phrases of one language; `{name}` in them stands for a value."""

    def __init__(self, language: str, phrases: Mapping[str, str]) -> None:
        self.language = language
        self.keys = frozenset(phrases)
        self._phrases = {key: _PLACEHOLDER.split(phrase) for key, phrase in phrases.items()}
        self._states = {key.casefold(): phrase for key, phrase in phrases.items() if key.startswith("state.")}

    def say(self, values: Mapping[str, str], key: str) -> str:
        """The phrase of `key` with its values, each on one line.

        Raises PhraseError for a key there is no phrase for, and for a value that is missing.
        """
        try:
            parts = self._phrases[key]
            return parts[0] if len(parts) == 1 else "".join(_filled(parts, values))
        except KeyError as missing:
            raise PhraseError(self.language, key, str(missing.args[0])) from None

    def state(self, state: str) -> str:
        """The name of a workflow state; a state the CMS does not document stays as it is."""
        return self._states.get(f"state.{state}".casefold(), state)

    def date(self, moment: datetime, zone: ZoneInfo) -> str:
        """`24 November 2026 at 12:30 (GMT)`: `moment`, aware, on the clock of `zone`."""
        local = _on_the_clock(moment, zone)
        months = self._phrases["date.months"][0].split(",")
        values = {
            "day": str(local.day),
            "month": months[local.month - 1],
            "year": str(local.year),
            "hour": f"{local.hour:02}",
            "minute": f"{local.minute:02}",
            "zone": _zone_name(local),
        }
        return self.say(values, "date.pattern")


def _filled(parts: list[str], values: Mapping[str, str]) -> list[str]:
    return [flat(values[part]) if odd % 2 else part for odd, part in enumerate(parts)]


def _on_the_clock(moment: datetime, zone: ZoneInfo) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:  # the first or last day that a calendar holds
        return moment


def _zone_name(moment: datetime) -> str:
    """`GMT`; zones without a name of their own are told as `UTC+03`."""
    name = moment.tzname() or ""
    return f"UTC{name}" if name.startswith(("+", "-")) else name


@dataclass(frozen=True, slots=True)
class Reader:
    """In what words, in what languages (best first) and on what clock a mail speaks."""

    wording: Wording
    languages: tuple[str, ...]
    zone: ZoneInfo

    def said(self, value: Localized) -> str:
        """The text of a localized value for this reader; if need be, the first there is."""
        if isinstance(value, str):
            return value
        available = tuple(language for language, text in value.items() if text) or tuple(value)
        found = (nearest(language, available) for language in self.languages)
        return value[next(filter(None, found), available[0])]

    def date(self, moment: datetime) -> str:
        """`moment`, aware, in this reader's words and zone."""
        return self.wording.date(moment, self.zone)


class Said(dict[str, str]):
    """Key -> phrase with its values filled in, each said once."""

    def __init__(self, wording: Wording, values: Mapping[str, str]) -> None:
        super().__init__()
        self._wording = wording
        self._values = values

    def __missing__(self, key: str) -> str:
        phrase = self[key] = self._wording.say(self._values, key)
        return phrase
