"""The settings file: the guide's own `Name = value` lines, so that a block pasted from its page is a file.

What the names and values mean is decided by `worker.settings`; here is only the grammar.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CAPTION: Final = "JavaScript"
"""What the guide's page shows above each of its blocks, and so what is copied with them."""

_SPACING: Final = (
    " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
)
"""Unicode's white space, and the invisible characters that web pages and editors leave around words."""

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that says something; `name` is empty where it is not of the form `Name = value`."""

    line: int
    name: str
    value: str


def trimmed(text: str) -> str:
    """`text` without the spacing around it, non-breaking and invisible included."""
    return text.strip(_SPACING)


def decoded(content: bytes) -> str:
    """The text of a settings file. Raises ValueError, with the line at fault, for anything but UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8 text; save the file as UTF-8") from None


def entries(text: str) -> Iterator[Entry]:
    """The settings in `text`, in order, without blank lines, comments and the guide's caption."""
    for number, line in enumerate(map(trimmed, _LINE_END.split(text)), start=1):
        if line and line != CAPTION and not line.startswith("#"):
            yield _entry(number, line)


def _entry(number: int, line: str) -> Entry:
    name, equals, value = line.partition("=")
    return Entry(number, trimmed(name) if equals else "", trimmed(value))
