"""Index ranges of owed mails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker import owed


@pytest.mark.parametrize(
    ("indexes", "text"),
    [((), ""), ((0,), "0"), ((0, 3, 4, 5, 6, 7), "0,3-7"), ((5, 1, 2), "1-2,5"), ((9, 10), "9-10")],
)
def test_indexes_are_written_as_ascending_ranges(indexes: tuple[int, ...], text: str) -> None:
    """The form the header has."""
    assert owed.written(indexes) == text


@given(st.sets(st.integers(0, 9999), min_size=1))
def test_what_is_written_is_owed_and_nothing_else(indexes: set[int]) -> None:
    """Reading gives back what was written."""
    text = owed.written(indexes)
    assert {n for n in range(10000) if owed.is_owed(text, n)} == indexes


@given(st.text())
def test_a_header_of_another_form_owes_everything(text: str) -> None:
    """Whatever a publisher puts there, no mail is forgotten and nothing breaks."""
    if not all(c in "0123456789,-" for c in text):
        assert owed.is_owed(text, 0)
