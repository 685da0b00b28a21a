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


def indexes_in(text: str) -> set[int]:
    """What a header names."""
    return {index for run in owed.read(text) for index in run}


@given(st.sets(st.integers(0, 9999), min_size=1))
def test_what_is_written_is_owed_and_nothing_else(indexes: set[int]) -> None:
    """Reading gives back what was written."""
    assert indexes_in(owed.written(indexes)) == indexes


@given(st.text())
def test_a_header_of_another_form_names_nothing(text: str) -> None:
    """Whatever a publisher puts there, nothing breaks."""
    if not all(c in "0123456789,-" for c in text):
        assert not owed.read(text)


@given(st.sets(st.integers(0, 100_000), min_size=1, max_size=3000))
def test_very_many_ranges_are_joined_and_nothing_owed_is_left_out(indexes: set[int]) -> None:
    """The header stays small; a mail too many is known as delivered when its turn comes."""
    text = owed.written(indexes)
    assert len(text) < 6_000
    assert indexes <= indexes_in(text)


def test_more_ranges_than_are_ever_written_are_none() -> None:
    """Anybody may have written the header, and each range costs a look for each mail."""
    assert owed.read(",".join(str(2 * n) for n in range(owed.MOST_RANGES))) != ()
    assert owed.read(",".join(str(2 * n) for n in range(owed.MOST_RANGES + 1))) == ()
