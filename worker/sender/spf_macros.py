"""The macros in SPF's domain names, such as `%{ir}.%{v}.spf.example.com` (RFC 7208 section 7). Pure."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

LONGEST_NAME: Final = 253

_MACRO: Final = re.compile(
    r"%(?:\{(?P<letter>[a-z])(?P<count>[0-9]*)(?P<reverse>r?)(?P<marks>[.,/_=+-]*)\}|(?P<sign>[%_-]))",
    re.IGNORECASE,
)
_SIGNS: Final = {"%": "%", "_": " ", "-": "%20"}


def expanded(spec: str, values: Mapping[str, str]) -> str:
    """`spec`, of valid grammar, with the macros replaced by `values`, letter -> value.

    A name that grew too long loses labels on the left.
    """
    name = _MACRO.sub(lambda macro: _replaced(macro, values), spec)
    while len(name) > LONGEST_NAME and "." in name:
        name = name.partition(".")[2]
    return name


def _replaced(macro: re.Match[str], values: Mapping[str, str]) -> str:
    if macro["sign"]:
        return _SIGNS[macro["sign"]]
    parts = re.split(f"[{re.escape(macro['marks'] or '.')}]", values[macro["letter"].lower()])
    if macro["reverse"]:
        parts.reverse()
    kept = ".".join(parts[-int(macro["count"] or len(parts)) :])
    return quote(kept, safe="-._~") if macro["letter"].isupper() else kept
