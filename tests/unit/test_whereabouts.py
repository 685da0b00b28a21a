"""Where mails are, by what was heard of them last."""

from datetime import UTC, datetime

import pytest

from contracts.topology import RETRY_TIERS
from worker.depths import Depth
from worker.trail import Fact
from worker.whereabouts import State, in_words, next_step, places

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
AT, LATER = "2026-11-24T12:00:25.000Z", "2026-11-24T12:00:26.000Z"

CASES = {
    "delivered": (Fact(AT, "delivered", detail="250 Ok"), State.DELIVERED, "", "took it: 250 Ok"),
    "suppressed": (
        Fact(AT, "suppressed", code="opted-out"),
        State.SUPPRESSED,
        "",
        "nothing to send: opted-out",
    ),
    "waiting": (
        Fact(AT, "retry", tier="10s"),
        State.WAITING,
        "notify.retry.10s",
        "until about 12:00:35 UTC (in 5 s)",
    ),
    "came back": (
        Fact("2026-11-24T11:00:00.000Z", "retry", tier="10s", lane="urgent"),
        State.UNDER_WAY,
        "notify.work.urgent",
        "nothing was heard of it since; notify.work.urgent holds 3 and has 2 consumers",
    ),
    "given back": (
        Fact(AT, "interrupted", code="drain", lane="urgent"),
        State.UNDER_WAY,
        "notify.work.urgent",
        "was given back",
    ),
    "dead": (
        Fact(AT, "dead", code="smtp-quota", dead_id="01A"),
        State.DEAD,
        "notify.dead.config",
        "could not be looked at",
    ),
    "a code of another version": (Fact(AT, "dead", code="new", dead_id="01A"), State.DEAD, "", "dead"),
    "no time": (Fact("", "retry", tier="10s", lane="x"), State.UNDER_WAY, "notify.work", "came back"),
    "a tier of another version": (
        Fact(AT, "retry", tier="3d", lane="urgent"),
        State.UNDER_WAY,
        "notify.work.urgent",
        "",
    ),
}
DEPTHS = {"notify.work.urgent": Depth(3, 2)}


@pytest.mark.parametrize(("fact", "state", "queue", "words"), CASES.values(), ids=CASES)
def test_a_mail_is_where_its_last_fact_left_it(fact: Fact, state: State, queue: str, words: str) -> None:
    """One row for each way."""
    (place,) = places([fact], "notify", NOW)
    assert (place.state, place.queue) == (state, queue)
    assert words in in_words(place, DEPTHS, NOW)


@pytest.mark.parametrize("tier", RETRY_TIERS)
def test_every_tier_gives_a_time(tier: str) -> None:
    """Of the contract's delays."""
    (place,) = places([Fact(AT, "retry", tier=tier)], "notify", NOW)
    assert place.state is State.WAITING


def test_a_delivered_mail_stays_delivered_when_its_event_comes_again() -> None:
    """Suppressed as a duplicate says nothing new."""
    facts = [Fact(AT, "delivered", "m", "e"), Fact(LATER, "suppressed", "m", "e", code="duplicate")]
    assert [place.state for place in places(facts, "notify", NOW)] == [State.DELIVERED]


def test_mails_that_ended_alike_are_one_place() -> None:
    """An event with two hundred recipients is still read at a glance."""
    facts = [Fact(AT, "delivered", f"m{n}", "e") for n in range(200)] + [
        Fact(AT, "retry", "x", "e", tier="10s")
    ]
    assert [(it.state, it.mails) for it in places(facts, "notify", NOW)] == [
        (State.DELIVERED, 200),
        (State.WAITING, 1),
    ]


def test_an_event_that_was_dead_as_a_whole_is_where_its_mails_went_later() -> None:
    """After it was mended and sent again."""
    facts = [Fact(AT, "dead", "", "e", code="template", dead_id="01A"), Fact(LATER, "delivered", "m", "e")]
    assert [place.state for place in places(facts, "notify", NOW)] == [State.DELIVERED]


def test_a_letter_that_was_taken_out_is_no_longer_dead() -> None:
    """Unless it died again, under another id."""
    dead = Fact(AT, "dead", "m", "e", code="smtp-quota", dead_id="01A")
    taken = Fact(LATER, "discarded", "", "e", dead_id="01A")
    (place,) = places([dead, taken], "notify", NOW)
    assert in_words(place, {}, NOW).startswith("discarded")
    again = Fact(LATER, "dead", "m", "e", code="smtp-quota", dead_id="01B")
    (place,) = places([dead, taken, again], "notify", NOW)
    assert (place.state, next_step(place, {})) == (State.DEAD, "notify-worker dead show 01B")
