"""YAML for people: whatever is written, a reader of YAML reads back."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.block_yaml import dump

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
"""Any text but lone surrogates, which no file in UTF-8 can hold."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(TEXT, values, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    """Keys that are no words, texts that look like numbers, line breaks of every kind."""
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({"a": {"b": ["c", 1]}}, "a:\n  b:\n    - c\n    - 1\n", id="block style"),
        pytest.param({"a": {}, "b": [], "c": None}, "a: {}\nb: []\nc: null\n", id="what is empty"),
        pytest.param({"on": "no", "a": "1.0"}, '"on": "no"\na: "1.0"\n', id="what would be read as another"),
        pytest.param([{"a": 1, "b": 2}], "- a: 1\n  b: 2\n", id="a list of mappings"),
        pytest.param({"a": "one\n\ntwo."}, "a: |-\n  one\n\n  two.\n", id="paragraphs"),
    ],
)
def test_it_looks_as_people_write_it(value: Any, text: str) -> None:
    """Quotes only where they are needed, and no trailing blanks."""
    assert dump(value) == text
