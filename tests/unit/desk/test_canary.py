"""What a canary tells: whether the rest would fail in the same way."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from contracts.dead_letter import Reason
from tests.support.examples import SYSTEM, fresh_example
from worker.decode import STRUCTURED
from worker.desk.canary import Song, Verdict, listen
from worker.desk.case import Case, watch
from worker.desk.ledger import Book, Subjects
from worker.desk.letter import Letter, Properties

SINCE = "2026-11-24T12:00:00.000Z"
BEFORE, AFTER = "2026-11-24T11:59:59.999Z", "2026-11-24T12:00:01.000Z"
DIED_OF = Reason.SMTP_AUTHENTICATION_REFUSED


def case_of(number: int = 0) -> Case:
    """A letter that died of a refused login."""
    headers: dict[str, Any] = {
        "notify-dead-id": f"01J{number}",
        "notify-class": "config",
        "notify-code": str(DIED_OF),
        "notify-origin-queue": "notify.work.standard",
        "notify-owed": "0-1",
    }
    properties = Properties(content_type=STRUCTURED, timestamp=datetime(2026, 11, 24, tzinfo=UTC))
    body = json.dumps(fresh_example(SYSTEM)).encode()
    return Case.of(Letter.read("notify.dead.config", f"config.{DIED_OF}", headers, body, properties))


def book_of(case: Case, *records: dict[str, Any]) -> Book:
    """What the journal says, where these are its lines about `case`."""
    subjects = Subjects()
    watch(subjects, case)
    book = Book(subjects)
    for record in records:
        assert case.event is not None
        book.add({"event": case.event.id, **record})
    return book


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        pytest.param([], None, id="nothing yet"),
        pytest.param([{"at": AFTER, "what": "delivered"}], Verdict(Song.WELL), id="delivered"),
        pytest.param(
            [{"at": AFTER, "what": "suppressed", "code": "duplicate"}], Verdict(Song.WELL), id="had it"
        ),
        pytest.param([{"at": BEFORE, "what": "delivered"}], None, id="delivered before it was sent again"),
        pytest.param(
            [{"at": AFTER, "what": "dead", "code": DIED_OF}], Verdict(Song.SAME, DIED_OF), id="dead of the same"
        ),
        pytest.param(
            [{"at": AFTER, "what": "retry", "code": DIED_OF}],
            Verdict(Song.SAME, DIED_OF),
            id="waits for the same",
        ),
        pytest.param(
            [{"at": AFTER, "what": "delivered"}, {"at": AFTER, "what": "dead", "code": DIED_OF}],
            Verdict(Song.SAME, DIED_OF),
            id="one delivered, one dead of the same",
        ),
        pytest.param(
            [{"at": AFTER, "what": "dead", "code": "smtp-certificate"}],
            Verdict(Song.SETTINGS, "smtp-certificate"),
            id="dead of another setting",
        ),
        pytest.param(
            [{"at": AFTER, "what": "dead", "code": "recipient-refused"}],
            Verdict(Song.WELL),
            id="dead of its own",
        ),
        pytest.param([{"at": AFTER, "what": "interrupted", "code": "server"}], None, id="waits for the server"),
    ],
)
def test_what_one_canary_tells(records: list[dict[str, Any]], verdict: Verdict | None) -> None:
    """Only what would happen to the rest as well stops them."""
    case = case_of()
    assert listen([case], book_of(case, *records), SINCE) == verdict


def test_all_canaries_are_waited_for_but_one_that_fails_is_enough() -> None:
    """The first that fails as before has told everything."""
    first, second = case_of(1), case_of(2)
    subjects = Subjects()
    watch(subjects, first)
    watch(subjects, second)
    book = Book(subjects)
    book.add({"at": AFTER, "what": "delivered", "run": first.run})
    assert listen([first, second], book, SINCE) is None
    book.add({"at": AFTER, "what": "dead", "code": DIED_OF, "run": second.run})
    assert listen([first, second], book, SINCE) == Verdict(Song.SAME, DIED_OF)
