"""What becomes of a delivery: a row for every way its mails can end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.outcome import Dead, Delivered, Interrupted, Outcome, Retry, Suppressed
from worker.verdict import MailOutcome, Past, Settlement, decide

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
FRESH = Past(attempts=0, first_failed=NOW, expires=None, delivery_count=0, give_up_seconds=86_400)

SENT = Delivered("250 2.0.0 Ok")
OPTED_OUT = Suppressed("opted-out")
REFUSED = Dead(PermanentError(Reason.RECIPIENT_REFUSED))
NO_TLS = Dead(PermanentError(Reason.OAUTH2_REQUIRES_TLS))
BUSY = Retry(TransientError(Reason.SMTP_BUSY, scope=Scope.MESSAGE))
GREYLISTED = Retry(TransientError(Reason.SMTP_BUSY, scope=Scope.MESSAGE, retry_after=300.0))
UNKNOWN = Retry(TransientError(Reason.SMTP_UNREACHABLE, scope=Scope.SERVER, unknown=True))
AWAY = Interrupted("server")
HUNG_UP = Interrupted("server", TransientError(Reason.SMTP_UNREACHABLE, scope=Scope.SERVER))
DRAINED = Interrupted("drain")
NO_BUDGET = Interrupted("budget")


def decided(*outcomes: Outcome, past: Past = FRESH) -> Settlement:
    """The settlement of an event whose mails ended so."""
    return decide([MailOutcome(n, f"key{n}", outcome) for n, outcome in enumerate(outcomes)], past, NOW)


def summary(settlement: Settlement) -> str:
    """As the rows of the table write it."""
    retry, dead = settlement.retry, settlement.dead
    parts = [
        "give back" if settlement.give_back else "",
        f"{retry.tier} owes {retry.owed} after {retry.attempts}" if retry else "",
        f"dead {dead.error.reason} owes {dead.owed}" if dead else "",
    ]
    return "; ".join(part for part in parts if part) or "ack"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([SENT], "ack"),
        ([SENT, OPTED_OUT], "ack"),
        ([OPTED_OUT], "ack"),
        ([Suppressed("duplicate")], "ack"),
        ([], "ack"),
        ([REFUSED], "dead recipient-refused owes (0,)"),
        ([BUSY], "10s owes (0,) after 1"),
        ([GREYLISTED], "5m owes (0,) after 1"),
        ([BUSY, GREYLISTED], "5m owes (0, 1) after 1"),
        ([SENT, REFUSED, BUSY], "10s owes (2,) after 1; dead recipient-refused owes (1,)"),
        ([REFUSED, NO_TLS], "dead oauth2-requires-tls owes (0, 1)"),
        ([AWAY], "give back"),
        ([AWAY, AWAY], "give back"),
        ([DRAINED], "give back"),
        ([AWAY, OPTED_OUT], "give back"),
        ([SENT, AWAY], "10s owes (1,) after 0"),
        ([SENT, DRAINED], "10s owes (1,) after 0"),
        ([REFUSED, AWAY], "10s owes (1,) after 0; dead recipient-refused owes (0,)"),
        ([BUSY, AWAY], "10s owes (0, 1) after 1"),
        ([NO_BUDGET], "10s owes (0,) after 0"),
        ([SENT, NO_BUDGET], "10s owes (1,) after 0"),
        ([UNKNOWN], "10s owes (0,) after 1"),
    ],
    ids=str,
)
def test_every_mix_of_outcomes_has_one_settlement(outcomes: list[Outcome], expected: str) -> None:
    """At most one retry copy and one dead copy; what is owed is owed once."""
    assert summary(decided(*outcomes)) == expected


@pytest.mark.parametrize(
    ("outcomes", "past", "expected"),
    [
        pytest.param(
            [BUSY],
            replace(FRESH, attempts=3),
            "30m owes (0,) after 4",
            id="the fourth attempt waits 30 minutes",
        ),
        pytest.param(
            [BUSY, SENT],
            replace(FRESH, attempts=20, first_failed=NOW - timedelta(seconds=86_395)),
            "dead smtp-busy owes (0,)",
            id="patience ends",
        ),
        pytest.param(
            [BUSY],
            replace(FRESH, expires=NOW + timedelta(seconds=5)),
            "dead smtp-busy owes (0,)",
            id="it would come back expired",
        ),
        pytest.param(
            [BUSY],
            replace(FRESH, attempts=4, expires=NOW + timedelta(minutes=40)),
            "30m owes (0,) after 5",
            id="a shorter tier is still in time",
        ),
        pytest.param(
            [UNKNOWN],
            replace(FRESH, attempts=1, unknown=[range(1)]),
            "dead smtp-unreachable owes (0,)",
            id="unknown a second time: not sent a third time",
        ),
        pytest.param(
            [AWAY],
            replace(FRESH, delivery_count=5),
            "10s owes (0,) after 0",
            id="given back often: a fresh copy, far from the delivery limit",
        ),
        pytest.param(
            [HUNG_UP],
            replace(FRESH, delivery_count=5),
            "10s owes (0,) after 1",
            id="the server is in trouble whenever this mail comes: it counts",
        ),
        pytest.param([HUNG_UP], replace(FRESH, delivery_count=4), "give back", id="not yet often enough"),
        pytest.param(
            [AWAY], replace(FRESH, attempts=2, delivery_count=4), "give back", id="given back a few times"
        ),
    ],
)
def test_what_lies_behind_a_delivery_counts(outcomes: list[Outcome], past: Past, expected: str) -> None:
    """Attempts, patience, expiry, unknown outcomes and the broker's own count."""
    assert summary(decided(*outcomes, past=past)) == expected


def test_a_dead_letter_of_several_causes_names_the_worst_first() -> None:
    """A setting to mend is said before a refused recipient, and the rest is not hidden."""
    dead = decided(REFUSED, NO_TLS, REFUSED).dead
    assert dead is not None
    assert dead.error.reason is Reason.OAUTH2_REQUIRES_TLS
    assert dead.others == (Reason.RECIPIENT_REFUSED,)
    assert dead.attempts == 1


def test_an_event_that_could_not_be_decoded_owes_no_list() -> None:
    """It has one outcome, and no mails to count."""
    settlement = decide([MailOutcome(None, "", Dead(PermanentError(Reason.ENVELOPE)))], FRESH, NOW)
    assert summary(settlement) == "dead envelope owes ()"


@given(st.lists(st.sampled_from([SENT, OPTED_OUT, REFUSED, NO_TLS, BUSY, UNKNOWN, AWAY, DRAINED, NO_BUDGET])))
def test_no_mail_is_forgotten_and_none_is_owed_twice(outcomes: list[Outcome]) -> None:
    """Whatever happens, each mail that is not final is in exactly one place."""
    settlement = decided(*outcomes)
    retry = settlement.retry.owed if settlement.retry else ()
    dead = settlement.dead.owed if settlement.dead else ()
    final = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Delivered | Suppressed)]
    if settlement.give_back:
        assert not any(isinstance(outcome, Delivered) for outcome in outcomes)
        assert (retry, dead) == ((), ())
    else:
        assert sorted([*final, *retry, *dead]) == list(range(len(outcomes)))
