"""What should become of a letter that was chosen, by what the journal says of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.desk.test_canary import AFTER, book_of, case_of
from worker.desk.case import Fate

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_letter_that_nobody_has_sent_again_is_sent() -> None:
    """To those who are owed it."""
    case = case_of()
    assert case.fate(book_of(case), NOW, skip_expired=True) is Fate.SEND
    assert case.fate(None, NOW, skip_expired=True) is Fate.SEND
    assert case.still_owed(book_of(case)) == "0-1"


@pytest.mark.parametrize("what", ["dead", "retry", "suppressed"])
def test_a_letter_whose_run_has_ended_is_only_taken_out(what: str) -> None:
    """The command that had sent it was killed before the letter was gone."""
    case = case_of()
    record: dict[str, Any] = {"at": AFTER, "what": what, "run": case.run}
    assert case.fate(book_of(case, record), NOW, skip_expired=False) is Fate.SENT_BEFORE


def test_a_letter_of_which_all_mails_were_delivered_is_only_taken_out() -> None:
    """A mail that is delivered is recorded at once, without its run; one that is missing is still owed."""
    case = case_of()
    records = [{"at": AFTER, "what": "delivered", "mail": key} for key in case.mails.values()]
    assert len(records) == 2
    assert case.fate(book_of(case, *records), NOW, skip_expired=False) is Fate.SENT_BEFORE
    some = book_of(case, records[0])
    assert case.fate(some, NOW, skip_expired=False) is Fate.SEND
    assert case.still_owed(some) == "1"


def test_a_letter_that_a_command_had_begun_to_send_is_in_doubt() -> None:
    """It may be on its way; that it was to be discarded says nothing of that."""
    case = case_of()
    begun: dict[str, Any] = {"at": AFTER, "dead_id": case.letter.id}
    discarded = book_of(case, {**begun, "what": "discarded"})
    assert case.fate(discarded, NOW, skip_expired=False) is Fate.SEND
    both = book_of(case, {**begun, "what": "redriven"}, {**begun, "what": "discarded"})
    assert case.fate(both, NOW, skip_expired=False) is Fate.PERHAPS_SENT


def test_what_the_journal_says_of_others_is_nothing_to_it() -> None:
    """Ids and keys that were not asked for are passed over."""
    case, other = case_of(), case_of(7)
    book = book_of(case, {"at": AFTER, "what": "dead", "run": other.run, "event": "other"})
    assert case.fate(book, NOW, skip_expired=False) is Fate.SEND
    assert not book.of_event
