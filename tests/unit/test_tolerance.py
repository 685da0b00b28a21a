"""Properties that the AMQP client would not read: they are read as well as can be."""

from datetime import datetime

import pytest
from pamqp import decode, encode

from worker.tolerance import read_odd_properties


@pytest.fixture(autouse=True)
def _tolerant() -> None:
    read_odd_properties()


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (b"plain", "plain"),
        (b"caf\xc3\xa9", "caf\u00e9"),
        (b"\xffodd\xfe", "\ufffdodd\ufffd"),
        (b"\xff" * 255, "\ufffd" * 255),
    ],
)
def test_a_text_that_is_no_utf_8_is_what_there_is_of_it(sent: bytes, text: str) -> None:
    """What follows it is read all the same."""
    size, value = decode.by_type(bytes([len(sent)]) + sent, "shortstr")
    assert (size, value) == (len(sent) + 1, text)


@pytest.mark.parametrize("seconds", [0, 2**31, 2**63 - 1, 2**64 - 1])
def test_a_time_beyond_the_calendar_is_a_time(seconds: int) -> None:
    """It can be written again."""
    _, moment = decode.by_type(seconds.to_bytes(8, "big"), "timestamp")
    assert isinstance(moment, datetime)
    assert encode.timestamp(moment)


@pytest.mark.parametrize(
    "content",
    [b"\x01a", b"\x01\xffV", b"\x01a?", b"\x01a" + b"F\x00\x00\x00\x05" * 3],
)
def test_headers_that_cannot_be_told_apart_are_none(content: bytes) -> None:
    """What follows them is read all the same."""
    table = len(content).to_bytes(4, "big") + content
    assert decode.by_type(table + b"rest", "table") == (len(table), {})
