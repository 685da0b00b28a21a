"""Messages as no publisher should send them, made from a number: the same number makes the same message again.

Their ids are known and their values hold a canary: each can be accounted for, and none may be quoted. The names
of fields hold none: where data is at fault, its place is told.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, Final

from tests.support.examples import NAMES, fresh_example

SEED: Final = 20261124
CANARY: Final = "kanarie"
KEYS: Final = ("system.error.x", "form.website.x", "workflow.website.x.y.z", "password-reset.requested")
MOST_CHARACTERS_OF_A_HEADER: Final = 5_000
STRUCTURED: Final = "application/cloudevents+json"
FREE_TEXT: Final = (
    *("title", "name", "firstName", "lastName", "username", "owner", "message", "subject", "description"),
    *("enquiry", "en-GB", "cy", "url"),
)


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What is published: `properties` are keyword arguments of an AMQP message; its `message_id` is `id`."""

    id: str
    key: str
    body: bytes
    headers: Mapping[str, Any]
    properties: Mapping[str, Any]


class NotUtf8(str):
    """Text that goes over the wire as bytes that are no UTF-8."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """The bytes."""
        return b"\xff\xfe" + super().encode(encoding, errors)

    def __str__(self) -> str:
        return self


class BeyondTheCalendar(datetime):
    """A moment that goes over the wire as the largest number of seconds there is."""

    def timestamp(self) -> float:
        """Seconds since 1970."""
        return 2**64 - 1


def fuzzed(number: int) -> Fuzzed:
    """The message of this number."""
    chance = Random(SEED + number)  # noqa: S311 - a seeded script, no secret
    identity, mark = f"fuzz-{number}", f"{CANARY}{number}"
    event = _event(chance, identity, mark)
    headers, properties = _headers(chance, mark), _properties(chance, mark)
    if chance.random() < 0.15 and isinstance(event, dict):
        headers |= {f"ce-{name}": _utf8(value) for name, value in event.items() if isinstance(value, str)}
        properties["content_type"] = chance.choice(("application/json", None, "text/plain"))
        event = event.get("data")
    return Fuzzed(identity, chance.choice(KEYS), _body(chance, event, mark), headers, properties)


def _utf8(text: str) -> str:
    return text[:MOST_CHARACTERS_OF_A_HEADER].encode(errors="replace").decode()


def _event(chance: Random, identity: str, mark: str) -> Any:
    if chance.random() < 0.15:
        return _any_json(chance, mark, 4)
    event = {**_marked(fresh_example(chance.choice(NAMES)), mark), "id": identity}
    for _ in range(chance.choice((0, 0, 1, 1, 1, 2, 3))):
        _mutate(chance, event, mark)
    # One that took another name could not be accounted for.
    return event | {"id": identity} if isinstance(event.get("id"), str) else event


def _marked(value: Any, mark: str, name: str = "") -> Any:
    match value:
        case dict():
            return {key: _marked(item, mark, key) for key, item in value.items()}
        case list():
            return [_marked(item, mark, name) for item in value]
        case str() if "@" in value:
            return value.replace("@", f".{mark}@")
        case str() if name in FREE_TEXT:
            return f"{value}/{mark}"
        case _:
            return value


def _mutate(chance: Random, event: dict[str, Any], mark: str) -> None:
    container, key = chance.choice(list(_places(event)))
    match chance.randrange(5):
        case 0:
            del container[key]
        case 1:
            container[key] = [container[key], container[key]]
        case 2 if isinstance(container, dict):
            container[f"odd-\0{key}"] = container[key]
        case _:
            container[key] = _odd(chance, mark)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: what it is in, and its key or index there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)


def _odd(chance: Random, mark: str) -> Any:
    texts = (
        *(
            mark,
            f"{mark}\0",
            f"\x1b[31m{mark}\r\nBcc: {mark}@evil.example",
            f"\ud800{mark}\udfff",
            f"\u202e{mark}",
        ),
        *(f"{mark}@{mark}.example", f"{mark} <a@b@c>", f"ü{mark}@bücher.example", f'"{mark}\\"@x.example', "@"),
        *(f"javascript:{mark}", f"https://[{mark}", f"http://{mark}:99999/", f"https://u:{mark}@x.example"),
        *(f"{{{{ {mark} | upper }}}}", f"{{% for n in (1..999999) %}}{mark}{{% endfor %}}", f"{{{{{mark}"),
        *(
            "2026-13-45T99:99:99Z",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "2026-11-24",
            "now",
        ),
        *(
            "",
            " ",
            "en-XX-x-y-z",
            "Europe/Nowhere",
            "../../etc/passwd",
            "2026-11-24T14:05:12.307",
            mark * 20_000,
        ),
    )
    numbers = (0, -1, 2**31, 2**63, -(10**400), 1e308, -0.0, float("nan"), float("inf"))
    shapes: tuple[Any, ...] = (
        None,
        True,
        False,
        [],
        {},
        [[]],
        [mark] * 500,
        {mark: mark},
        _nested(200),
        {"": ""},
    )
    return chance.choice(chance.choice((texts, texts, numbers, shapes)))


def _any_json(chance: Random, mark: str, depth: int) -> Any:
    match chance.randrange(4 if depth else 2):
        case 2:
            return [_any_json(chance, mark, depth - 1) for _ in range(chance.randrange(4))]
        case 3:
            names = ("type", "data", "id", "specversion", "odd", "")
            return {
                chance.choice(names): _any_json(chance, mark, depth - 1) for _ in range(chance.randrange(5))
            }
        case _:
            return _odd(chance, mark)


def _nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = {"value": [value]}
    return value


def _body(chance: Random, event: Any, mark: str) -> bytes:
    body = json.dumps(event, ensure_ascii=chance.random() < 0.8).encode(errors="surrogatepass")
    return chance.choice(_broken(chance, body, mark.encode())) if chance.random() < 0.25 else body


def _broken(chance: Random, body: bytes, mark: bytes) -> tuple[bytes, ...]:
    flipped = bytes(chance.choice((byte, byte, byte, byte ^ 1 << chance.randrange(8))) for byte in body)
    return (
        *(b"", body[: len(body) // 2], body[:-1], body + mark, flipped, chance.randbytes(200) + mark),
        *(b"\xef\xbb\xbf" + body, body.decode(errors="replace").encode("utf-16") + mark),
        *(b"[" * 1_000_000 + mark, b'{"id":' * 100_000 + mark, body.replace(b",", b"," + mark, 1)),
        *(body.replace(b'"data": {', b'"data": {"n": %b, ' % digits) for digits in (b"9" * 100_000, b"1e999")),
        body.replace(b'"data":', b'"data": "%b", "data":' % mark),
    )


def _headers(chance: Random, mark: str) -> dict[str, Any]:
    return {chance.choice(_HEADER_NAMES): _odd_field(chance, mark) for _ in range(chance.randrange(5))}


_HEADER_NAMES: Final = (
    *("notify-attempts", "notify-owed", "notify-unknown", "notify-history", "notify-copy-id", "notify-dead-id"),
    *("notify-first-failed", "notify-origin-key", "notify-attempt-traceparent", "notify-class", "notify-code"),
    *("x-death", "x-delivery-count", "x-first-death-queue", "x-acquired-count", "x-opt-x", "content-type"),
    *(
        "traceparent",
        "tracestate",
        "baggage",
        "ce-specversion",
        "ce-time",
        "cloudEvents:type",
        "cloudEvents_data",
    ),
    *("", "ü" * 60, CANARY, NotUtf8("x-odd")),
)


def _odd_field(chance: Random, mark: str) -> Any:
    texts = (
        *(
            mark,
            NotUtf8(mark),
            "",
            "\0",
            f"{mark}\r\n",
            "9999",
            "0-999999999",
            "1.0",
            "[" * 5_000,
            '[["a","b","c"]]',
        ),
        *("00-" + "0" * 32 + "-" + "0" * 16 + "-00", "00-zz", "9999-12-31T23:59:59-23:59", "x" * 10_000),
    )
    # Not NaN: RabbitMQ itself closes the connection of whoever publishes it.
    numbers = (True, 0, -1, 3, 2**31, 2**62, -(2**63), 1.5, Decimal("-1.25"), None)
    moments = (datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), _BEYOND)
    shapes: tuple[Any, ...] = (
        bytearray(b"\xff\0"),
        [mark, 1, [None]],
        [{"count": -1, "queue": 1}],
        {mark: {mark: [mark]}},
        {},
        [],
    )
    return chance.choice(chance.choice((texts, texts, numbers, moments, (*shapes, _deep_table(40)))))


def _deep_table(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(depth):
        table = {"deeper": table, "list": [1]}
    return table


_BEYOND: Final = BeyondTheCalendar(2026, 11, 24, tzinfo=UTC)


def _properties(chance: Random, mark: str) -> dict[str, Any]:
    odd = {
        "content_type": (None, "", "text/plain", "application/json", f"{STRUCTURED}; charset=latin-1", mark),
        "content_encoding": ("gzip", mark, NotUtf8(mark)),
        "correlation_id": (mark, NotUtf8(mark), NotUtf8("x" * 250), "\0", "x" * 255),
        "reply_to": (mark, NotUtf8(mark)),
        "type": (mark, NotUtf8(mark), "amqp-1.0"),
        "app_id": (mark, NotUtf8(mark)),
        "priority": (0, 9, 255),
        "timestamp": (datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), _BEYOND),
    }
    chosen = chance.sample(sorted(odd), chance.choice((0, 0, 1, 2, 4)))
    return {name: chance.choice(odd[name]) for name in chosen}
