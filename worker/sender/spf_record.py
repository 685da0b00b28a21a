"""The text of an SPF record -> its directives, or why it is none (RFC 7208 sections 4.6 to 7.1). Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import Final


class Result(StrEnum):
    """What a check can say (section 2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"  # noqa: S105 - a result, no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class RecordError(ValueError):
    """The record does not follow the grammar, so that nothing in it counts."""


@dataclass(frozen=True, slots=True)
class Directive:
    """One mechanism, and what a match with it means.

    `domain` may hold macros, and is empty for the record's own. `network` is there with ip4 and ip6; the prefix
    lengths, of IPv4 and IPv6, are those of `a` and `mx`.
    """

    text: str
    result: Result
    kind: str
    domain: str = ""
    network: IPv4Network | IPv6Network | None = None
    prefixes: tuple[int, int] = (32, 128)


@dataclass(frozen=True, slots=True)
class Record:
    """The directives in their order, and the domain whose record speaks if none matches, or nothing."""

    directives: tuple[Directive, ...]
    redirect: str = ""


def is_spf(text: str) -> bool:
    """Whether a TXT record means to be an SPF record (section 4.5)."""
    return bool(re.match(r"v=spf1( |$)", text, re.IGNORECASE))


def parse(text: str) -> Record:
    """The record in `text`, for which `is_spf` holds. Raises RecordError."""
    directives: list[Directive] = []
    modifiers: dict[str, str] = {}
    for term in text.split(" ")[1:]:
        if modifier := _MODIFIER.fullmatch(term):
            _add_modifier(modifiers, modifier["name"].lower(), modifier["value"])
        elif term:
            directives.append(_directive(term))
    return Record(tuple(directives), modifiers.get("redirect", ""))


def _add_modifier(modifiers: dict[str, str], name: str, value: str) -> None:
    """Section 6: the two that are known are there once at most; of others only the form matters."""
    known = name in {"redirect", "exp"}
    if not (_DOMAIN_SPEC if known else _MACRO_STRING).fullmatch(value):
        raise RecordError(f"the modifier {name} has no valid value")
    if known and name in modifiers:
        raise RecordError(f"the modifier {name} stands there twice")
    modifiers[name] = value


def _directive(term: str) -> Directive:
    match = _DIRECTIVE.fullmatch(term)
    if match is None:
        raise RecordError(f"“{term}” is no mechanism")
    parts = match.groupdict()
    kind = next(kind for kind in _KINDS if parts[kind] is not None)
    return Directive(
        text=term,
        result=_QUALIFIERS[parts["qualifier"]],
        kind=kind,
        domain=next((parts[name] for name in _DOMAINS if parts[name]), ""),
        network=_network(term, parts["four"] or parts["six"]),
        prefixes=_prefixes(term, parts),
    )


def _network(term: str, text: str | None) -> IPv4Network | IPv6Network | None:
    if text is None:
        return None
    try:
        return IPv6Network(text, strict=False) if ":" in text else IPv4Network(text, strict=False)
    except ValueError:
        raise RecordError(f"“{term}” names no network") from None


def _prefixes(term: str, parts: dict[str, str | None]) -> tuple[int, int]:
    four = int(parts["a_four"] or parts["mx_four"] or 32)
    six = int(parts["a_six"] or parts["mx_six"] or 128)
    if four > 32 or six > 128:  # noqa: PLR2004 - bits of an address
        raise RecordError(f"“{term}” has a prefix longer than an address")
    return four, six


_MACRO: Final = r"%\{[slodiphv](?!0+[r.,/_=+}-])[0-9]*r?[.,/_=+-]*\}|%%|%_|%-"
_MACROS: Final = rf"(?:{_MACRO}|[!-$&-~])*"
_TOP_LABEL: Final = r"[a-z0-9]*[a-z][a-z0-9]*|[a-z0-9]+-[a-z0-9-]*[a-z0-9]"
_DOMAIN: Final = rf"{_MACROS}(?:\.(?:{_TOP_LABEL})\.?|{_MACRO})"
_FOUR: Final = r"(?:0|[1-9][0-9]?)"
_SIX: Final = r"(?:0|[1-9][0-9]{0,2})"


def _with_hosts(kind: str) -> str:
    """`a` and `mx`, whose domain and prefix lengths may be left out."""
    prefixes = rf"(?:/(?P<{kind}_four>{_FOUR}))?(?://(?P<{kind}_six>{_SIX}))?"
    return rf"(?P<{kind}>{kind})(?::(?P<{kind}_domain>{_DOMAIN}))?{prefixes}"


_DIRECTIVE: Final = re.compile(
    rf"(?P<qualifier>[-+?~]?)(?:(?P<all>all)|(?P<include>include):(?P<include_domain>{_DOMAIN})"
    rf"|{_with_hosts('a')}|{_with_hosts('mx')}|(?P<ptr>ptr)(?::(?P<ptr_domain>{_DOMAIN}))?"
    rf"|(?P<ip4>ip4):(?P<four>[0-9.]+(?:/{_FOUR})?)|(?P<ip6>ip6):(?P<six>[0-9a-f:.]+(?:/{_SIX})?)"
    rf"|(?P<exists>exists):(?P<exists_domain>{_DOMAIN}))",
    re.IGNORECASE,
)
_MODIFIER: Final = re.compile(r"(?P<name>[a-z][a-z0-9_.-]*)=(?P<value>.*)", re.IGNORECASE | re.DOTALL)
_DOMAIN_SPEC: Final = re.compile(_DOMAIN, re.IGNORECASE)
_MACRO_STRING: Final = re.compile(_MACROS, re.IGNORECASE)
_KINDS: Final = ("all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists")
_DOMAINS: Final = ("include_domain", "a_domain", "mx_domain", "ptr_domain", "exists_domain")
_QUALIFIERS: Final = {
    "": Result.PASS,
    "+": Result.PASS,
    "-": Result.FAIL,
    "~": Result.SOFTFAIL,
    "?": Result.NEUTRAL,
}
