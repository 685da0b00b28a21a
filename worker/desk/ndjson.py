"""A dead letter as a line of JSON and back, whole: what `dead export` writes and an import reads.

It holds the body, since nothing else can be sent again; so a file of these is as secret as the queue.
"""

import base64
import binascii
import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from worker.copies import BROKER_HEADERS
from worker.desk.letter import Letter, Properties

FORMAT: Final = "notify-dead-letter/1"
_BYTES: Final = "$bytes"
_MOMENT: Final = "$time"


def written(letter: Letter) -> str:
    """The line, without its end: `{format, id, queue, key, headers, properties, body | body_base64}`.

    Headers of the broker's own are left out. Bytes stand as `{"$bytes": base64}`, moments as `{"$time": …}`.
    """
    document = {
        "format": FORMAT,
        "id": letter.id,
        "queue": letter.queue,
        "key": f"{letter.dead_class}.{letter.code}",
        "headers": _packed({name: value for name, value in letter.headers.items() if not _of_broker(name)}),
        "properties": _packed({name: value for name, value in asdict(letter.properties).items() if value}),
        **_body(letter.body),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def read(line: str | bytes) -> Letter:
    """The letter that `written` wrote. Raises ValueError with a sentence, which repeats nothing of the line."""
    try:
        document = json.loads(line)
        return _FORMATS[document["format"]](
            document["queue"],
            document["key"],
            _unpacked(document["headers"]),
            _bytes(document),
            Properties(**_unpacked(document["properties"])),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"not a dead letter as `dead export` writes it ({FORMAT})") from None


def _of_broker(name: str) -> bool:
    return name.lower().startswith((*BROKER_HEADERS, "x-stream-"))


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _bytes(document: dict[str, Any]) -> bytes:
    if "body" in document:
        return str(document["body"]).encode()
    try:
        return base64.b64decode(document["body_base64"], validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _packed(value: Any) -> Any:
    match value:
        case bytes() | bytearray():
            return {_BYTES: base64.b64encode(value).decode()}
        case datetime():
            return {_MOMENT: value.isoformat()}
        case dict():
            return {name: _packed(inner) for name, inner in value.items()}
        case list():
            return [_packed(inner) for inner in value]
        case str() | bool() | int() | float() | None:
            return value
        case _:
            return str(value)


def _unpacked(value: Any) -> Any:
    match value:
        case {"$bytes": str(text), **rest} if not rest:
            return base64.b64decode(text)
        case {"$time": str(text), **rest} if not rest:
            return datetime.fromisoformat(text)
        case dict():
            return {name: _unpacked(inner) for name, inner in value.items()}
        case list():
            return [_unpacked(inner) for inner in value]
        case _:
            return value


_FORMATS: Final = {FORMAT: Letter.read}
"""Formats that are read; a later one is added, and this one stays."""
