"""Replies out of bytes: whatever pieces they come in, and what is no reply."""

from itertools import chain
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.smtp.reader import MAX_REPLY_BYTES, GarbledError, ReplyReader
from worker.smtp.replies import Reply

REPLIES: Final = [
    pytest.param(b"250 2.1.0 Ok\r\n", [Reply(250, "2.1.0 Ok")], id="one line"),
    pytest.param(b"250\r\n", [Reply(250, "")], id="a bare code"),
    pytest.param(b"250 \r\n", [Reply(250, "")], id="a code and a space"),
    pytest.param(b"250\tOk\r\n", [Reply(250, "Ok")], id="a tab"),
    pytest.param(b"250 Ok\n", [Reply(250, "Ok")], id="a bare line feed"),
    pytest.param(b"550-5.1.1 No\r\n550 such\r\n", [Reply(550, "5.1.1 No\nsuch")], id="two lines"),
    pytest.param(b"250-a\r\n250-\r\n250 c\r\n", [Reply(250, "a\n\nc")], id="an empty line"),
    pytest.param(b"250-a\r\n250\r\n", [Reply(250, "a\n")], id="a bare code ends it"),
    pytest.param(b"250-a\r\n451 b\r\n", [Reply(451, "a\nb")], id="the last line's code counts"),
    pytest.param(b"250 a\r\n354 b\r\n", [Reply(250, "a"), Reply(354, "b")], id="two replies"),
    pytest.param("250 gr\u00fc\u00dfe\r\n".encode(), [Reply(250, "gr\u00fc\u00dfe")], id="UTF-8"),
    pytest.param(b"250 gr\xfc\xdf\r\n", [Reply(250, "gr\ufffd\ufffd")], id="no UTF-8"),
    pytest.param(b"250 a\rb\x00c\r\n", [Reply(250, "a\rb\x00c")], id="control characters"),
    pytest.param(b"250 " + b"x" * 9000 + b"\r\n", [Reply(250, "x" * 9000)], id="a line longer than allowed"),
]


@pytest.mark.parametrize(("data", "replies"), REPLIES)
def test_a_reply_is_read_whatever_pieces_it_comes_in(data: bytes, replies: list[Reply]) -> None:
    """TCP keeps no borders: cut at any byte, and byte by byte, it is the same."""
    for middle in range(min(len(data), 100)):
        reader = ReplyReader()
        assert [*reader.feed(data[:middle]), *reader.feed(data[middle:])] == replies
        assert not reader.amid
    reader = ReplyReader()
    assert [reply for byte in data for reply in reader.feed(bytes([byte]))] == replies


GARBLED: Final = [
    pytest.param(b"HTTP/1.1 400 Bad Request\r\n", id="another protocol"),
    pytest.param(b"\r\n", id="an empty line"),
    pytest.param(b"25 Ok\r\n", id="two digits"),
    pytest.param(b"2500 Ok\r\n", id="four digits"),
    pytest.param(b"150 Ok\r\n", id="a code of no class"),
    pytest.param(b"250_Ok\r\n", id="another mark"),
    pytest.param("\u0662\u0665\u0660 Ok\r\n".encode(), id="digits of another script"),
    pytest.param(b"250-a\r\nb\r\n", id="a second line without a code"),
    pytest.param(b"x" * (MAX_REPLY_BYTES + 1), id="a line without end"),
    pytest.param(b"250-x\r\n" * MAX_REPLY_BYTES, id="lines without end"),
]


@pytest.mark.parametrize("data", GARBLED)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_what_is_no_reply_is_told(data: bytes, size: int) -> None:
    """And memory is bounded: a reply that does not end is none."""
    reader = ReplyReader()
    pieces = [data[start : start + size] for start in range(0, min(len(data), 2 * MAX_REPLY_BYTES), size)]
    with pytest.raises(GarbledError):
        list(chain.from_iterable(map(reader.feed, pieces)))


@pytest.mark.parametrize("begun", [b"2", b"250", b"250 Ok", b"250 Ok\r", b"250-Ok\r\n", b"250-a\r\n2"])
def test_a_reply_that_has_begun_shows(begun: bytes) -> None:
    """What is said meanwhile would be said too early."""
    reader = ReplyReader()
    assert not list(reader.feed(begun))
    assert reader.amid


TEXT: Final = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), max_size=20)
MANY: Final = st.lists(st.tuples(st.integers(200, 599), st.lists(TEXT, min_size=1, max_size=3)), max_size=6)


@given(replies=MANY, cuts=st.lists(st.integers(1, 30), min_size=1, max_size=20))
@settings(max_examples=200)
def test_any_replies_in_any_pieces(replies: list[tuple[int, list[str]]], cuts: list[int]) -> None:
    """What a server writes is what is read."""
    data = b""
    for code, lines in replies:
        marks = ["-"] * (len(lines) - 1) + [" "]
        data += "".join(f"{code}{mark}{line}\r\n" for mark, line in zip(marks, lines, strict=True)).encode()
    reader, read, position = ReplyReader(), list[Reply](), 0
    while position < len(data):
        for cut in cuts:
            read += reader.feed(data[position : position + cut])
            position += cut
    assert [(reply.code, reply.text.split("\n")) for reply in read] == replies
