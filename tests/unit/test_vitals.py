"""What the doctor makes of what it saw."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from yarl import URL

from contracts.dead_letter import rfc3339
from contracts.topology import topology
from worker import vitals
from worker.findings import Mark
from worker.policies import limits
from worker.vitals import Heard, Seen, Vitals

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOTHING = Vitals(URL("amqp://localhost/"), "notify", Seen(why_not="away"), [], {})

VERSIONS = {
    "3.10.8": Mark.OK,
    "4.2.1": Mark.OK,
    "4.0.0-rc.1": Mark.OK,
    "3.9.29": Mark.FAILED,
    "5.0.0": Mark.UNCLEAR,
    "?": Mark.UNCLEAR,
}


@pytest.mark.parametrize(("version", "mark"), VERSIONS.items())
def test_the_version_is_judged(version: str, mark: Mark) -> None:
    """From 3.10 to 4.x it was tried."""
    assert vitals.broker({"product": "RabbitMQ", "version": version}, URL("amqp://a/")).mark is mark


def test_another_broker_is_told() -> None:
    """Such as LavinMQ, which speaks AMQP too."""
    assert vitals.broker({"product": "LavinMQ", "version": "2.0.0"}, URL("amqp://a/")).mark is Mark.UNCLEAR


CLOCKS = {
    "the broker's": (Seen(clock_ahead_seconds=2.0), "", Mark.OK),
    "ahead of the broker": (Seen(clock_ahead_seconds=60.0), "", Mark.WARNING),
    "behind the broker": (Seen(clock_ahead_seconds=-60.0), "", Mark.WARNING),
    "behind a worker": (Seen(), rfc3339(NOW + timedelta(minutes=1)), Mark.WARNING),
    "as far as records tell": (Seen(), rfc3339(NOW), Mark.OK),
    "a record without a time": (Seen(), "soon", Mark.OK),
}


@pytest.mark.parametrize(("seen", "newest", "mark"), CLOCKS.values(), ids=CLOCKS)
def test_clocks_are_compared(seen: Seen, newest: str, mark: Mark) -> None:
    """With the broker's, where the management API tells it, and with the workers' records."""
    finding = vitals.clock(seen, Heard(newest=newest, by="mail-1"), NOW)
    assert finding.mark is mark
    assert bool(finding.hint) is (mark is Mark.WARNING)


def test_a_worker_with_other_settings_is_told() -> None:
    """The one heard of last."""
    heard = Heard()
    heard.hear({"notify-worker": "mail-1", "notify-settings-rev": "old"}, b'{"at": "2026-11-24T12:00:00.000Z"}')
    readable, other = vitals.told(heard, "new")
    assert "under settings old (1)" in readable.text
    assert (other.mark, "mail-1" in other.text) == (Mark.WARNING, True)
    assert len(list(vitals.told(heard, "old"))) == 1


def test_feature_flags_that_are_not_enabled_are_told() -> None:
    """An update of RabbitMQ needs them."""
    (finding,) = vitals.flags(replace(NOTHING, seen=Seen(disabled_flags=["stream_queue"])))
    assert (finding.mark, "stream_queue" in finding.text) == (Mark.WARNING, True)
    assert finding.hint == "Run: rabbitmqctl enable_feature_flag all"


def policy(**fields: Any) -> dict[str, Any]:
    """A policy as the management API shows it."""
    about = {"name": "p", "pattern": ".*", "apply-to": "queues", "priority": 0, "definition": {}}
    return {**about, **fields}


LOW = {"delivery-limit": 3}
POLICIES = {
    "none": ([], 20, False),
    "lower": ([policy(definition=LOW)], 3, True),
    "higher": ([policy(definition={"delivery-limit": 50})], 20, False),
    "of exchanges": ([policy(**{"apply-to": "exchanges"}, definition=LOW)], 20, False),
    "of quorum queues": ([policy(**{"apply-to": "quorum_queues"}, definition=LOW)], 3, True),
    "of another queue": ([policy(pattern=r"^other\.", definition=LOW)], 20, False),
    "outranked": ([policy(definition=LOW), policy(priority=1, definition={"max-length": 9})], 20, False),
    "an operator's": ([policy(priority=1), policy(operator=True, definition=LOW)], 3, True),
    "a pattern that is none": ([policy(pattern="(", definition=LOW)], 20, False),
}


@pytest.mark.parametrize(("policies", "limit", "harmed"), POLICIES.values(), ids=POLICIES)
def test_the_limit_in_effect_is_the_lower_one(policies: list[dict[str, Any]], limit: int, harmed: bool) -> None:  # noqa: FBT001 - a table's column
    """Of the queue's own, the policy's with the highest priority and an operator's."""
    found = {it.queue: it for it in limits(policies, topology().queues, "notify")}
    work = found["notify.work.urgent"]
    assert (work.limit, bool(work.harm), work.loses) == (limit, harmed, False)


def test_a_policy_that_loses_dead_letters_is_worse() -> None:
    """Any limit at all: looking at them wears them out."""
    found = {
        it.queue: it for it in limits([policy(definition={"delivery-limit": 50})], topology().queues, "notify")
    }
    assert found["notify.dead.config"].loses
    assert not found["notify.work.urgent"].harm
