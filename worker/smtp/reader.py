"""What a server sends, in whatever pieces it comes -> its replies (RFC 5321 section 4.2)."""

import re
from collections.abc import Iterator
from typing import Final

from worker.smtp.replies import MAX_DETAIL_CHARACTERS, Reply

MAX_REPLY_BYTES: Final = 512 * 1024
"""Of all lines of a reply. The standard allows 512 a line; nobody's replies are as long as this."""

KEPT_BYTES: Final = 32 * 1024
"""Of a reply's text: the rest is read, so that the session goes on, and forgotten."""


class GarbledError(Exception):
    """What the server said is no reply."""


class ReplyReader:
    """Puts replies of up to `longest` bytes together. After a GarbledError nothing makes sense any more."""

    def __init__(self, longest: int = MAX_REPLY_BYTES) -> None:
        self._longest = longest
        self._rest = b""
        self._texts: list[bytes] = []
        self._size = 0

    @property
    def amid(self) -> bool:
        """Whether a reply has begun to arrive and is not complete."""
        return bool(self._rest or self._texts)

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies that `data` completes. Raises GarbledError for what is none, or has no end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._bound(len(line))
            if reply := self._line(line.rstrip(b"\r")):
                yield reply
        if self._rest:
            self._bound(0)

    def _bound(self, more: int) -> None:
        self._size += more
        if self._size + len(self._rest) > self._longest:
            raise GarbledError(f"the server's reply has no end after {self._longest} bytes")

    def _line(self, line: bytes) -> Reply | None:
        """The reply that ends with `line`; its code counts (RFC 5321 section 4.2.1)."""
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise GarbledError(
                f"this is no SMTP reply: {line[:MAX_DETAIL_CHARACTERS].decode(errors='replace')}"
            )
        code, mark, text = parts.groups(b"")
        self._texts.append(text.strip())
        if mark == b"-":
            return None
        reply = Reply(int(code), b"\n".join(self._texts)[:KEPT_BYTES].decode(errors="replace"))
        self._texts, self._size = [], 0
        return reply


_LINE: Final = re.compile(rb"([2-5]\d\d)(?:([- \t])(.*))?", re.DOTALL)
