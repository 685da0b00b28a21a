"""A rendered mail -> its bytes as they go over the wire (RFC 5322, 2045, 2047, 2231).

`email.message.EmailMessage` takes milliseconds for what takes microseconds here. The tests hold these bytes to
the standard library's parser: what it reads back is what went in.
"""

import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from string import ascii_letters, digits
from typing import Final, Literal
from urllib.parse import quote

from worker.address import Mailbox, one_line

MAX_LINE: Final = 998  # RFC 5322 §2.1.1, without its CRLF
_LINE = 76  # RFC 2047 §2 of a header line with encoded words; RFC 5322 would like 78 of the others
_ENCODED_WORD_FRAME = len("=?utf-8?q??=")

# RFC 2047 §5 (3): what may stand for itself in a phrase, and so anywhere
_Q_LITERAL = frozenset(ascii_letters + digits + "!*+-/")
_ATTR_CHAR = "!#$&+-.^_`|~"  # RFC 8187 §3.2.1, beside letters and digits
_ID_CHAR = "!#$%&'*+/=?^_`{|}~@:[]"  # RFC 5322 §3.6.4, beside letters, digits and .-
_MAX_ID = 900
_FILENAME_ROOM = 50  # of the line that also holds the parameter's longest name
_QUOTABLE = re.compile(r"[ !#-\[\]-~]+")  # a quoted-string that needs no backslash; parsers differ about those

# RFC 6838 §4.2. A multipart or message part must not be base64 (RFC 2045 §6.4), so such a file is just octets.
_RESTRICTED_NAME = r"[a-z0-9][\w!#$&^.+-]{0,126}"
_MEDIA_TYPE = re.compile(
    rf"\s*((?!multipart/|message/){_RESTRICTED_NAME}/{_RESTRICTED_NAME})\s*(?:;|$)", re.ASCII | re.IGNORECASE
)
_CHARSET = re.compile(r";\s*charset=\"?([\w.+-]{1,40})\"?\s*(?:;|$)", re.ASCII | re.IGNORECASE)

_UNSENDABLE = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")
_DELIMITER = b"--=_"  # begins each line between parts; neither base64 nor quoted-printable can hold it


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
    """The message as bytes: CRLF line ends, no line over 998 bytes, no dot-stuffing.

    ASCII throughout, unless `needs_smtputf8`. The same letter gives the same bytes. Raises ValueError for a
    letter without a sender.
    """
    if letter.sender is None:
        raise ValueError("A letter needs a sender before it is composed: set its `sender`.")
    return _header(letter, letter.sender).encode() + _body(letter)


def needs_smtputf8(letter: Letter) -> bool:
    """Whether a server has to offer SMTPUTF8 for this message: an address in its header is not ASCII."""
    return any(
        mailbox is not None and mailbox.needs_smtputf8
        for mailbox in (letter.sender, letter.to, letter.reply_to)
    )


def dot_stuff(message: bytes) -> bytes:
    """`message` with every line's leading dot doubled (RFC 5321 §4.5.2); the final dot is the caller's."""
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _header(letter: Letter, sender: Mailbox) -> str:
    thread = _id(letter.thread) if letter.thread else ""
    fields = {
        "Date": format_datetime(letter.date),
        "From": _mailbox("From", sender),
        "To": _mailbox("To", letter.to),
        "Reply-To": _mailbox("Reply-To", letter.reply_to) if letter.reply_to else "",
        "Subject": _text("Subject", letter.subject),
        "Message-ID": _id(letter.message_id),
        "In-Reply-To": thread,
        "References": thread,
        "MIME-Version": "1.0",
        "Content-Language": _text("Content-Language", letter.language),
        "Auto-Submitted": letter.auto_submitted,
        "X-Auto-Response-Suppress": "All",
        "X-Contensis-Event-Id": _text("X-Contensis-Event-Id", letter.event_id),
    }
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)


def _text(field: str, text: str) -> str:
    """Free text: as it is where it is ASCII whose words fit their lines, else encoded words."""
    text, room = one_line(text), _LINE - len(f"{field}: ")
    words = text.split(" ")
    if text.isascii() and "=?" not in text and max(map(len, words)) <= room:
        return _fold(words, room)
    return _fold(_encoded_words(text, room), room)


def _mailbox(field: str, mailbox: Mailbox) -> str:
    """`"Name" <address>`; no encoded word may hold an address, so beyond ASCII it is raw UTF-8 (RFC 6532)."""
    name, address, room = one_line(mailbox.name), one_line(mailbox.address), _LINE - len(f"{field}: ")
    if not name:
        return address
    quoted = f'"{name}"'
    words = [quoted] if _is_quotable(name) and len(quoted) <= room else _encoded_words(name, room)
    return _fold([*words, f"<{address}>"], room)


def _id(text: str) -> str:
    """A `msg-id`: unsafe characters percent-encoded, as in a `cid:` address; what is no id, its digest."""
    identifier = quote(text.strip(" <>"), safe=_ID_CHAR, errors="replace")
    if not 0 < len(identifier) <= _MAX_ID:
        identifier = hashlib.sha256(identifier.encode()).hexdigest()
    return f"<{identifier}>"


def _fold(words: Sequence[str], room: int) -> str:
    """`words` on as few lines as will do (RFC 5322 §2.2.3); `room` is what the field's name leaves."""
    folded, left = words[0], room - len(words[0])
    for word in words[1:]:
        fits = len(word) < left
        folded += f" {word}" if fits else f"\r\n {word}"
        left = (left if fits else _LINE) - len(word) - 1
    return folded


def _encoded_words(text: str, room: int) -> list[str]:
    """RFC 2047: the whole text, spaces too, since white space between encoded words is not part of it."""
    first, others = room - _ENCODED_WORD_FRAME, _LINE - 1 - _ENCODED_WORD_FRAME
    if len("".join(map(_q, text))) <= _base64_size(len(text.encode())):
        return [f"=?utf-8?q?{''.join(map(_q, part))}?=" for part in _split(text, _q, first, others)]
    parts = _split(text, str.encode, first // 4 * 3, others // 4 * 3)
    return [f"=?utf-8?b?{binascii.b2a_base64(part.encode(), newline=False).decode()}?=" for part in parts]


def _split(text: str, encode: Callable[[str], Sized], first: int, others: int) -> Iterator[str]:
    """Pieces of whole characters, each at most `first` or `others` long when encoded."""
    start, left = 0, first
    for position, character in enumerate(text):
        size = len(encode(character))
        if size > left:
            yield text[start:position]
            start, left = position, others
        left -= size
    yield text[start:]


@lru_cache(maxsize=1024)
def _q(character: str) -> str:
    if character in _Q_LITERAL:
        return character
    return "_" if character == " " else "".join(f"={octet:02X}" for octet in character.encode())


def _is_quotable(text: str) -> bool:
    return _QUOTABLE.fullmatch(text) is not None and "=?" not in text


def _body(letter: Letter) -> bytes:
    """Content-Type and all that follows: multipart no deeper than the files ask for."""
    mark = hashlib.sha256(letter.message_id.encode(errors="replace")).hexdigest()[:16]
    texts = (_text_part("plain", letter.text), _text_part("html", letter.html))
    shown = [_file_part(file) for file in letter.files if file.content_id]
    attached = [_file_part(file) for file in letter.files if not file.content_id]
    body = _multipart("alternative", mark, texts)
    if shown:  # RFC 2387 §3.1 wants the type of the part that refers to the others
        body = _multipart("related", mark, (body, *shown), ' type="multipart/alternative";')
    return _multipart("mixed", mark, (body, *attached)) if attached else body


def _multipart(subtype: str, mark: str, parts: Iterable[bytes], parameter: str = "") -> bytes:
    boundary = f"=_{subtype}-{mark}"
    header = f'Content-Type: multipart/{subtype};{parameter}\r\n boundary="{boundary}"\r\n\r\n'
    begin, end = f"--{boundary}\r\n", f"--{boundary}--\r\n"
    framed = (piece for part in parts for piece in (begin.encode(), part, b"\r\n"))
    return b"".join((header.encode(), *framed, end.encode()))


def _text_part(subtype: str, text: str) -> bytes:
    lines = _UNSENDABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    encoding, content = _transfer_encoded(lines.replace("\n", "\r\n").encode())
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
        + content
    )


def _transfer_encoded(text: bytes) -> tuple[str, bytes]:
    """As it is where it is 7bit and no line of it can end a part, else the shorter encoding (RFC 2045 §6)."""
    if text.isascii() and _DELIMITER not in text and max(map(len, text.split(b"\r\n"))) <= MAX_LINE:
        return "7bit", text
    # Python breaks lines as the first one ends, and with LF where there is none.
    quoted = binascii.b2a_qp(text, istext=True).replace(b"=\n", b"=\r\n")
    if len(quoted) <= _base64_size(len(text)):
        return "quoted-printable", quoted
    return "base64", _base64(text)


def _file_part(file: File) -> bytes:
    disposition = "inline" if file.inline or file.content_id else "attachment"
    content_id = f"Content-ID: {_id(file.content_id)}\r\n" if file.content_id else ""
    header = (
        f"Content-Type: {_media_type(file.content_type)}\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f"Content-Disposition: {disposition}{_filename(one_line(file.name))}\r\n"
        f"{content_id}\r\n"
    )
    return header.encode() + _base64(file.content)


def _media_type(text: str) -> str:
    media_type, charset = _MEDIA_TYPE.match(text), _CHARSET.search(text)
    if not media_type:
        return "application/octet-stream"
    return media_type[1].lower() + (f"; charset={charset[1]}" if charset else "")


def _filename(name: str) -> str:
    """The parameter: quoted where that is plain, else as RFC 2231 has it, in as many sections as will do."""
    if not name:
        return ""
    if _is_quotable(name) and len(name) <= _FILENAME_ROOM:
        return f';\r\n filename="{name}"'
    first, *more = map(_percent, _split(name, _percent, _FILENAME_ROOM, _FILENAME_ROOM))
    if not more:
        return f";\r\n filename*=utf-8''{first}"
    sections = "".join(f";\r\n filename*{number}*={value}" for number, value in enumerate(more, 1))
    return f";\r\n filename*0*=utf-8''{first}{sections}"


def _percent(text: str) -> str:
    return quote(text, safe=_ATTR_CHAR)


def _base64(octets: bytes) -> bytes:
    encoded = binascii.b2a_base64(octets, newline=False)
    return b"\r\n".join([encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE)])


def _base64_size(octets: int) -> int:
    """How long so many octets are in base64, their line ends left out."""
    return -(-octets // 3) * 4
