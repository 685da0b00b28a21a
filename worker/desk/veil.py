"""What of a letter may be shown without --reveal: its shape, and what tells nothing of a person.

A body's keys are kept, and the values of the few that say what the event is; every other text, and all that
somebody answered in a form, is masked. So nothing is shown because somebody forgot to name it.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from contracts.dead_letter import HEADER_PREFIX
from worker.desk.letter import Letter
from worker.redact import Redactor

SHOWN: Final = frozenset(
    {
        "action",
        "alias",
        "code",
        "contentType",
        "contentTypeId",
        "correlationid",
        "dataFormat",
        "dataType",
        "datacontenttype",
        "dataschema",
        "dateTime",
        "disposition",
        "event",
        "expires",
        "expirytime",
        "id",
        "invoked",
        "language",
        "primaryLanguage",
        "projectId",
        "reason",
        "rule",
        "severity",
        "source",
        "specversion",
        "state",
        "time",
        "timezone",
        "traceparent",
        "type",
        "versionNo",
    }
)
"""Keys of an event whose texts are shown, less what in them looks like an address, link or token."""

ANSWERS: Final = frozenset({"response"})
"""Keys below which nothing is shown: numbers and choices are answers too."""

SHOWN_HEADERS: Final = frozenset(
    {
        "ce-id",
        "ce-source",
        "ce-specversion",
        "ce-time",
        "ce-type",
        "traceparent",
        "tracestate",
        "x-death",
        "x-delivery-count",
    }
)
_BY_BROKER: Final = ("x-first-death-", "x-last-death-")
_CONTROL: Final = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "?")
redact: Final = Redactor()


def body(letter: Letter) -> Any:
    """The body as JSON, masked; a sentence in place of one that is no JSON."""
    try:
        return _masked(json.loads(letter.body), shown=False)
    except (ValueError, RecursionError):
        return f"<{len(letter.body):,} bytes, not JSON>"


def headers(letter: Letter) -> dict[str, Any]:
    """All headers of the message, masked but for the worker's and the broker's own."""
    return {line(name): _header(name, value) for name, value in sorted(letter.headers.items())}


def line(text: str) -> str:
    """`text` as it may stand on a screen: redacted, on one line, with nothing that a terminal obeys."""
    return redact(text).translate(_CONTROL)


def _header(name: str, value: Any) -> Any:
    known = name in SHOWN_HEADERS or name.startswith((HEADER_PREFIX, *_BY_BROKER))
    return _plain(value) if known else mask(value)


def _plain(value: Any) -> Any:
    match value:
        case str():
            return line(value)
        case Mapping():
            return {line(str(name)): _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case datetime():
            return value.isoformat()
        case bool() | int() | float() | None:
            return value
        case _:
            return mask(value)


def _masked(value: Any, *, shown: bool) -> Any:
    match value:
        case dict():
            return {line(name): _of_key(name, inner) for name, inner in value.items()}
        case list():
            return [_masked(inner, shown=shown) for inner in value]
        case str():
            return line(value) if shown else mask(value)
        case _:
            return value


def _of_key(name: str, value: Any) -> Any:
    return _hidden(value) if name in ANSWERS else _masked(value, shown=name in SHOWN)


def _hidden(value: Any) -> Any:
    match value:
        case dict():
            return {line(name): _hidden(inner) for name, inner in value.items()}
        case list():
            return [_hidden(inner) for inner in value]
        case _:
            return mask(value)


def mask(value: Any) -> str:
    """What stands for a value that is not shown."""
    return f"<{len(value)} characters>" if isinstance(value, str) else f"<{type(value).__name__}>"
