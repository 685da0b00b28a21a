"""Messages of every odd kind that a publisher could send: odd bodies among odd properties and headers.

The latter are bytes as they go over the wire, since no client library would write most of them. RabbitMQ passes
them on as they came.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

import aio_pika
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pamqp.commands import Basic

from tests.support.odd_events import BODIES, EVENTS, NUMBER, TEXTS

STRUCTURED: Final = b"application/cloudevents+json"
JSON: Final = b"application/json"
USES_OF_CONTENT: Final = 2
USES_OF_THE_REST: Final = 5
"""How often a drawn part is used, each time with others: drawing takes longer than sending."""

LARGEST_HEADERS: Final = 120_000
"""The client and RabbitMQ agree on frames of 128 KiB, and headers cannot be parted."""

T = TypeVar("T")
Table = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Content:
    """A body, its content type, and the attributes in headers that belong to it; values are encoded."""

    body: bytes
    content_type: bytes
    attributes: Table


@dataclass(frozen=True, slots=True)
class OddMessage:
    """A message; `properties` are encoded."""

    body: bytes
    properties: Mapping[str, bytes]

    def to_publish(self, name: str) -> aio_pika.Message:
        """For the client library, which passes the properties on as they are; `name` is the message id too."""
        old, new = NUMBER.encode(), name.encode()
        properties = {field: value.replace(old, new) for field, value in self.properties.items()}
        return _AsItIs(self.body.replace(old, new), {**properties, "message_id": short(new)}, name)


class _AsItIs(aio_pika.Message):
    def __init__(self, body: bytes, encoded: Mapping[str, bytes], message_id: str) -> None:
        super().__init__(body, message_id=message_id)
        self._encoded = encoded

    @property
    def properties(self) -> Basic.Properties:
        return _Encoded(self._encoded, self.message_id)


class _Encoded(Basic.Properties):
    def __init__(self, encoded: Mapping[str, bytes], message_id: str | None) -> None:
        super().__init__(message_id=message_id)
        self._encoded = encoded

    def marshal(self) -> bytes:
        flags = sum(self.flags[name] for name in self._encoded)
        in_order = (self._encoded[name] for name in Basic.Properties.__slots__ if name in self._encoded)
        return flags.to_bytes(2, "big") + b"".join(in_order)


def odd_messages(count: int) -> list[OddMessage]:
    """So many of them, the same in every run."""
    contents, rest = _some(_CONTENTS, count // USES_OF_CONTENT), count // USES_OF_THE_REST
    properties, headers = _some(_PROPERTIES, rest), _some(_HEADERS, rest)
    chance = Random(count)  # noqa: S311 - no secret
    return [
        _put_together(chance.choice(contents), chance.choice(properties), chance.choice(headers))
        for _ in range(count)
    ]


def _some(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    found: list[T] = []

    @seed(count)
    @settings(
        max_examples=count, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return found


def _put_together(content: Content, properties: Mapping[str, bytes], headers: Table) -> OddMessage:
    all_headers = table({**headers, **content.attributes})
    if len(all_headers) > LARGEST_HEADERS:
        all_headers = table(content.attributes)
    encoded = {**properties, "content_type": short(content.content_type), "headers": all_headers}
    return OddMessage(content.body, encoded)


def short(text: bytes) -> bytes:
    """A string of at most 255 bytes, as properties and names of headers are."""
    return bytes([len(text)]) + text


def sized(content: bytes) -> bytes:
    """The content of a longer string, an array or a table, with its size before it."""
    return len(content).to_bytes(4, "big") + content


def table(fields: Table) -> bytes:
    """A table of encoded values, each with the letter of its type."""
    return sized(b"".join(short(name) + value for name, value in fields.items()))


def _fixed(letter: bytes, size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size).map(lambda value: letter + value)


_SIZES: Final = ("b1", "B1", "t1", "s2", "u2", "I4", "i4", "l8", "f4", "d8", "T8", "D5")
"""Letter of each type of a fixed size that RabbitMQ knows, and that size."""

_TEXT_OR_BYTES: Final = TEXTS.map(lambda odd: odd.encode(errors="surrogatepass")) | st.binary()
_LEAVES: Final = st.one_of(
    _TEXT_OR_BYTES.map(lambda odd: b"S" + sized(odd)),
    st.binary().map(lambda odd: b"x" + sized(odd)),
    st.just(b"V"),
    st.sampled_from([b"A" + sized(b"V" * 50_000), b"S" + sized(b"x" * 50_000)]),
    *(_fixed(size[0].encode(), int(size[1])) for size in _SIZES),
)
_VALUES: Final = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: b"A" + sized(b"".join(items))),
        st.dictionaries(st.binary(max_size=20), inner, max_size=2).map(lambda fields: b"F" + table(fields)),
    ),
    max_leaves=3,
)
_WORKERS: Final = (
    "attempts owed unknown history first-failed origin-key copy-id dead-id code class detail "
    "attempt-traceparent"
)
_OTHERS: Final = (
    "x-death x-delivery-count x-acquired-count x-first-death-queue x-last-death-reason x-opt-a NOTIFY-OWED "
    "traceparent tracestate baggage ce-type ce-specversion cloudEvents:time cloudEvents_data"
)
_NAMES: Final = st.one_of(
    st.sampled_from([f"notify-{name}".encode() for name in _WORKERS.split()]),
    st.sampled_from([name.encode() for name in _OTHERS.split()]),
    st.binary(max_size=40),
)
_HEADERS: Final = st.dictionaries(_NAMES, _VALUES, max_size=2)
_PROPERTIES: Final = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(
            ("content_encoding", "correlation_id", "reply_to", "message_type", "app_id"),
            _TEXT_OR_BYTES.map(lambda odd: short(odd[:255])),
        ),
        "delivery_mode": st.sampled_from([b"\x01", b"\x02"]),
        "priority": st.binary(min_size=1, max_size=1),
        "timestamp": st.binary(min_size=8, max_size=8),
    },
)


def _in_binary_mode(event: Mapping[str, Any], prefix: str) -> Content:
    attributes = {
        f"{prefix}{name}".encode(errors="surrogatepass")[:255]: _as_header(value)
        for name, value in event.items()
        if name != "data"
    }
    return Content(json.dumps(event.get("data")).encode(), JSON, attributes)


def _as_header(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return b"S" + sized(text.encode(errors="surrogatepass")[:10_000])


_CONTENT_TYPES: Final = st.sampled_from([STRUCTURED] * 30 + [JSON, b"", b"\xff;\x00", b"x" * 255])
_CONTENTS: Final = st.one_of(
    st.builds(Content, BODIES, _CONTENT_TYPES, st.just({})),
    st.builds(Content, BODIES, _CONTENT_TYPES, st.just({})),
    st.builds(_in_binary_mode, EVENTS, st.sampled_from(["ce-", "cloudEvents:", "cloudEvents_"])),
)
