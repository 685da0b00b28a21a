"""JSON-like data as YAML in block style, for people to read: `asyncapi.yaml` is written with it.

Contracts rely on nothing but pydantic, and writing needs far less than reading: a text that could be read as
anything else is quoted as in JSON, which YAML takes as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_PLAIN: Final = re.compile(r"[A-Za-z](?:[\w ./{}-]*[\w./}])?", re.ASCII)
_KEY: Final = re.compile(r"[$A-Za-z][\w.-]*", re.ASCII)
_PARAGRAPHS: Final = re.compile(r"\w[ -~]*(\n+\w[ -~]*)+", re.ASCII)
_WORDS_OF_YAML: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_LINE_BREAKS_AND_CONTROLS: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def dump(value: Any) -> str:
    """`value` as a YAML document: mappings with text as keys, lists, text, whole numbers, booleans, None."""
    return "\n".join("" if line.isspace() else line for line in _lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _under(f"{_key(key)}:", item)
    elif _is_list(value) and value:
        for item in value:
            first, *rest = _lines(item)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _under(head: str, value: Any) -> Iterator[str]:
    if value and (isinstance(value, Mapping) or _is_list(value)):
        yield head
        yield from (f"  {line}" for line in _lines(value))
    elif isinstance(value, str) and _PARAGRAPHS.fullmatch(value):
        yield f"{head} |-"
        yield from (f"  {line}" if line else "" for line in value.split("\n"))
    else:
        yield f"{head} {_scalar(value)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _key(text: str) -> str:
    return text if _KEY.fullmatch(text) and text.lower() not in _WORDS_OF_YAML else _quoted(text)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    return _quoted(value)


def _quoted(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return _LINE_BREAKS_AND_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
