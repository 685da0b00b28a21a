"""The grammar of the settings file."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.settings_file import Entry, decoded, entries, trimmed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Name = value", [Entry(1, "Name", "value")], id="plain"),
        pytest.param("Name=value", [Entry(1, "Name", "value")], id="no spacing"),
        pytest.param("\tName \t=\t value  ", [Entry(1, "Name", "value")], id="tabs"),
        pytest.param(
            "\u00a0Name\u202f\u00a0=\u00a0value\u2007", [Entry(1, "Name", "value")], id="non-breaking"
        ),
        pytest.param("\u200bName\u2060=value\ufeff", [Entry(1, "Name", "value")], id="invisible"),
        pytest.param("\ufeffName = value", [Entry(1, "Name", "value")], id="byte-order mark"),
        pytest.param("\ufeff# note\nName = value", [Entry(2, "Name", "value")], id="mark before a comment"),
        pytest.param("JavaScript\nName = value", [Entry(2, "Name", "value")], id="caption"),
        pytest.param("\n \n\u00a0\nName = value\n\n", [Entry(4, "Name", "value")], id="blank lines"),
        pytest.param("A = 1\r\nB = 2\r\n", [Entry(1, "A", "1"), Entry(2, "B", "2")], id="CRLF"),
        pytest.param("A = 1\rB = 2", [Entry(1, "A", "1"), Entry(2, "B", "2")], id="CR"),
        pytest.param("# Name = value", [], id="comment"),
        pytest.param("Name = va#lue # x", [Entry(1, "Name", "va#lue # x")], id="hash sign in a value"),
        pytest.param("Name = #value", [Entry(1, "Name", "#value")], id="hash sign before a value"),
        pytest.param("Name = a=b==", [Entry(1, "Name", "a=b==")], id="equals sign"),
        pytest.param("Name = 'a' \"b\"", [Entry(1, "Name", "'a' \"b\"")], id="quotes"),
        pytest.param('Name = "a"', [Entry(1, "Name", '"a"')], id="quoted"),
        pytest.param("Name = C:\\new", [Entry(1, "Name", "C:\\new")], id="backslash"),
        pytest.param("Name = a\u2028b\x85c\x0cd", [Entry(1, "Name", "a\u2028b\x85c\x0cd")], id="no line ends"),
        pytest.param("Name = JavaScript", [Entry(1, "Name", "JavaScript")], id="caption as a value"),
        pytest.param("Name =", [Entry(1, "Name", "")], id="nothing"),
        pytest.param("Name", [Entry(1, "", "")], id="no equals sign"),
        pytest.param("= value", [Entry(1, "", "value")], id="no name"),
        pytest.param("", [], id="empty file"),
    ],
)
def test_lines_are_read_as_the_guide_writes_them(text: str, expected: list[Entry]) -> None:
    """Any spacing, literal values, `#` only at the start of a line; the caption and a mark are ignored."""
    assert list(entries(text)) == expected


def test_all_of_unicode_s_white_space_is_trimmed() -> None:
    """Whatever Python calls a space is spacing here too, so that no look-alike is left."""
    spaces = "".join(character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace())
    assert trimmed(f"{spaces}value{spaces}") == "value"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(b"A = 1\nB = \xff\n", 2, id="a stray byte"),
        pytest.param("A = 1".encode("utf-16"), 1, id="UTF-16"),
        pytest.param(b"A = 1\r\n\r\n\xe9", 3, id="Latin-1"),
    ],
)
def test_a_file_that_is_not_utf_8_is_refused_with_its_line(content: bytes, line: int) -> None:
    """The sentence says where, and what to do; it does not show the bytes, which may be a password's."""
    with pytest.raises(ValueError, match=f"^line {line} is not UTF-8 text; save the file as UTF-8$"):
        decoded(content)


_VALUES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])).map(trimmed)
_SPACES = st.text("\t \u00a0\u2007\u202f\u200b\ufeff", max_size=4)


@settings(max_examples=300, deadline=None)
@given(value=_VALUES, spaces=st.tuples(_SPACES, _SPACES, _SPACES, _SPACES))
def test_any_value_is_read_literally(value: str, spaces: tuple[str, str, str, str]) -> None:
    """Whatever stands on one line, without the spacing around it, is the value."""
    line = f"{spaces[0]}Name{spaces[1]}={spaces[2]}{value}{spaces[3]}"
    assert list(entries(decoded(line.encode()))) == [Entry(1, "Name", value)]
