"""A rendered mail -> its bytes as they go over the wire (RFC 5322, 2045, 2047, 2231)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from worker.address import Mailbox


@dataclass(frozen=True, slots=True)
class File:
    """An attachment; `content_id` makes it an inline part that the HTML refers to as `cid:`."""

    name: str
    content_type: str
    content: bytes
    inline: bool = False
    content_id: str | None = None


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to one person, rendered but not yet bytes.

    `message_id` and `thread` are without angle brackets; all mails of one `thread` refer to it.
    """

    sender: Mailbox | None
    to: Mailbox
    reply_to: Mailbox | None
    subject: str
    text: str
    html: str
    date: datetime
    message_id: str
    language: str
    auto_submitted: Literal["auto-generated", "auto-replied"]
    event_id: str
    thread: str | None = None
    files: tuple[File, ...] = ()


def compose(letter: Letter) -> bytes:
    """The message as bytes: CRLF line ends, no line over 998 bytes, no dot-stuffing."""
    raise NotImplementedError
