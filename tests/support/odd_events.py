"""Bodies of every odd kind: broken JSON, JSON of any shape, and example events with something changed."""

import json
from collections.abc import Iterator
from typing import Any, Final

from hypothesis import strategies as st

from tests.support.examples import NAMES, fresh_example

CANARY: Final = "kanarienvogel"
"""Stands in whatever an author or a reader might have written: it must turn up nowhere."""

NUMBER: Final = "odd-00000"
"""Stands where the message's own number comes, and is as long."""

Path = tuple[str | int, ...]

_AWKWARD: Final = (
    "",
    " ",
    "\x00",
    "\x1b[31m\x7f\x85",
    "a\r\nBcc: x@y.example",
    "\ud800",
    "\udfff\ud800",
    "\u202e\u2066\u200b\ufeff",
    "{{ 7*7 }}{% for %}",
    "${jndi:ldap://x}",
    "<script>",
    "=?utf-8?q?x?=",
    "%s%n%(x)s",
    "0000-00-00T00:00:00Z",
    "2026-02-30T25:61:61Z",
    "+999999-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "1e999",
    "no address",
    "a@",
    "@b",
    "a@b@c",
    '"a b"@c.example',
    "a@xn--a.example",
    "\u00e9@\u00e9.example",
    "en-\x00GB",
    "../../../etc/passwd",
    "\U0001f99c" * 50,
)
_SHORT_TEXTS: Final = st.text(max_size=20)
TEXTS: Final = st.one_of(
    _SHORT_TEXTS,
    st.text(st.characters(codec=None), max_size=40),
    st.sampled_from(_AWKWARD),
    st.builds(lambda part, times: part * times, _SHORT_TEXTS, st.sampled_from([100, 5_000])),
).map(lambda odd: odd + CANARY if len(odd) % 2 else odd)
_NUMBERS: Final = st.one_of(
    st.integers(),
    st.sampled_from([2**31, 2**63, -(2**63) - 1, 2**64, 10**300, 10**4000]),
    st.floats(allow_nan=False, allow_infinity=False),
)
_LEAVES: Final = st.none() | st.booleans() | _NUMBERS | TEXTS
_DEPTHS: Final = (10, 101, 400)
_DEEP: Final = 2


def _deep(depth: int) -> Any:
    value: Any = CANARY
    for _ in range(depth):
        value = [value] if depth % 2 else {"a": value}
    return value


_ANYTHING: Final = st.one_of(
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_SHORT_TEXTS, inner, max_size=5),
        max_leaves=12,
    ),
    st.sampled_from(_DEPTHS).map(_deep),
)


def _with_canaries(value: Any) -> Any:
    """An example with a canary in each address, link and free text; what is one of a list stays valid."""
    match value:
        case dict():
            return {name: _with_canaries(inner) for name, inner in value.items()}
        case list():
            return [_with_canaries(inner) for inner in value]
        case str() if "@" in value and "<" not in value:
            return f"{CANARY}.{value}"
        case str() if value.startswith("https://"):
            return f"{value}?{CANARY}"
        case str() if " " in value:
            return f"{CANARY} {value}"
        case _:
            return value


def _example(name: str) -> dict[str, Any]:
    event = fresh_example(name)
    return event | {"id": NUMBER, "data": _with_canaries(event["data"])}


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where there is anything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        yield (*path, name)
        yield from _paths(item, (*path, name))


@st.composite
def _changed_events(draw: st.DrawFn) -> dict[str, Any]:
    """An example with up to three changes, mostly deep inside."""
    event = _example(draw(st.sampled_from(NAMES)))
    for _ in range(draw(st.integers(0, 3))):
        paths = [*_paths(event), ("added",)]
        deep = [path for path in paths if len(path) > _DEEP]
        in_depth = draw(st.integers(0, 3)) > 0
        _change(draw, event, draw(st.sampled_from(deep if deep and in_depth else paths)))
    return event


def _change(draw: st.DrawFn, event: dict[str, Any], path: Path) -> None:
    place: Any = event
    for part in path[:-1]:
        place = place[part]
    name: Any = path[-1]
    match draw(st.sampled_from(["replace", "replace", "remove", "wrap", "repeat", "lengthen"])):
        case "remove" if name in place or isinstance(place, list):
            del place[name]
        case "wrap" if name in place:
            place[name] = [place[name]]
        case "repeat" if isinstance(place, list):
            place *= draw(st.sampled_from([2, 30]))
        case "lengthen" if isinstance(place, dict) and isinstance(place.get(name), str):
            place[name] += draw(TEXTS)
        case _:
            place[name] = draw(_ANYTHING)
    if isinstance(event.get("id"), str) and NUMBER not in event["id"]:
        # An event by another name would be sent, and could not be told from the others.
        event["id"] = NUMBER + event["id"]


def _as_ascii(value: Any) -> bytes:
    return json.dumps(value).encode()


def _as_utf_8(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


EVENTS: Final = _changed_events()
_WHOLE: Final = EVENTS.map(_as_ascii) | EVENTS.map(_as_utf_8)
_BROKEN: Final = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda body, end: body[: end % len(body)], _WHOLE, st.integers(0, 10_000)),
    st.builds(lambda body, at, odd: body[:at] + odd + body[at:], _WHOLE, st.integers(0, 500), st.binary()),
    _ANYTHING.map(_as_ascii),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'"' + b"x" * 1_000_000,
            b"1" * 100_000,
            b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00",
            b"NaN",
            b'{"id": Infinity}',
            b"\x00" * 1000,
        ]
    ),
)
BODIES: Final = st.sampled_from([_WHOLE, _WHOLE, _BROKEN]).flatmap(lambda kind: kind)
