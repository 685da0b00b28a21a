"""Planted texts that must turn up nowhere, and all the forms in which they might."""

import base64
import hashlib
import quopri
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus

ALIGNMENTS: Final = 3
SOFT_BREAK: Final = b"=\n"


def found(markers: Mapping[str, str], produced: Mapping[str, bytes]) -> list[str]:
    """Which of `markers`, name -> text, is where in `produced`, name -> bytes, and in which form."""
    return [
        f"{name} {form} in {where}"
        for where, haystack in produced.items()
        for text in ({haystack, haystack.replace(b"\r\n", b"\n").replace(SOFT_BREAK, b"")})
        for name, marker in markers.items()
        for form, needle in forms(marker)
        if needle.lower() in text.lower()
    ]


def forms(marker: str) -> Iterator[tuple[str, bytes]]:
    """Each form of a marker: as it is, encoded and hashed."""
    raw = marker.encode()
    yield "plain", raw
    yield "escaped", marker.encode("unicode_escape")
    yield from _base64(raw)
    yield "quoted-printable", quopri.encodestring(raw, quotetabs=True).replace(SOFT_BREAK, b"")
    for percent in {quote(marker, safe=""), quote(marker), quote_plus(marker)}:
        yield "percent-encoded", percent.encode()
    yield "percent-encoded throughout", "".join(f"%{byte:02x}" for byte in raw).encode()
    yield "hex", raw.hex().encode()
    for text in {marker, marker.lower()}:
        yield from _hashes(text.encode())


def _base64(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Wherever in a longer text it begins: the characters that its neighbours have a part in are left out."""
    for before in range(ALIGNMENTS):
        encoded = base64.b64encode(bytes(before) + raw)
        head = (8 * before + 5) // 6
        tail = len(encoded.rstrip(b"=")) - bool((before + len(raw)) % ALIGNMENTS)
        for alphabet in (encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))):
            yield f"base64 at {before}", alphabet[head:tail]


def _hashes(raw: bytes) -> Iterator[tuple[str, bytes]]:
    for name in ("md5", "sha1", "sha256"):
        digest = hashlib.new(name, raw, usedforsecurity=False).digest()
        yield f"{name} hex", digest.hex().encode()
        yield f"{name} base64", base64.b64encode(digest).rstrip(b"=")


def disguised(markers: Iterable[str]) -> bytes:
    """All forms of all markers, as a haystack to try the search with."""
    return b"\n".join(needle for marker in markers for _, needle in forms(marker))
