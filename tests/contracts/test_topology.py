"""The broker's topology as data: RabbitMQ compares it for ever, so it changes here before anywhere."""

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.dead_letter import DeadClass
from contracts.events import FAMILIES
from contracts.topology import (
    LANE_KEYS,
    Lane,
    dead_exchange,
    dead_queue,
    dead_queue_of,
    events_exchange,
    journal_topology,
    retry_tier,
    topology,
    unroutable_exchange,
    work_queue,
)

EXCHANGES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "notify.unroutable": ("fanout", {}),
    "notify.events": ("topic", {"alternate-exchange": "notify.unroutable"}),
    "notify.dead": ("topic", {}),
    "notify.retry.10s": ("fanout", {}),
    "notify.retry.1m": ("fanout", {}),
    "notify.retry.5m": ("fanout", {}),
    "notify.retry.30m": ("fanout", {}),
    "notify.retry.2h": ("fanout", {}),
}

WORK: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 20,
    "x-dead-letter-exchange": "notify.dead",
    "x-dead-letter-routing-key": "poison.delivery-limit",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
TIER: Final[dict[str, Any]] = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
DEAD: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-delivery-limit": 2000000000}

QUEUES: Final[dict[str, dict[str, Any]]] = {
    "notify.work.urgent": WORK,
    "notify.work.standard": WORK,
    "notify.retry.10s": {**TIER, "x-message-ttl": 10000},
    "notify.retry.1m": {**TIER, "x-message-ttl": 60000},
    "notify.retry.5m": {**TIER, "x-message-ttl": 300000},
    "notify.retry.30m": {**TIER, "x-message-ttl": 1800000},
    "notify.retry.2h": {**TIER, "x-message-ttl": 7200000},
    "notify.dead.config": DEAD,
    "notify.dead.poison": DEAD,
    "notify.dead.exhausted": DEAD,
    "notify.dead.unroutable": DEAD,
}

BINDINGS: Final[set[tuple[str, str, str]]] = {
    ("notify.events", "password-reset.#", "notify.work.urgent"),
    ("notify.events", "workflow.#", "notify.work.standard"),
    ("notify.events", "form.#", "notify.work.standard"),
    ("notify.events", "system.#", "notify.work.standard"),
    ("notify.retry.10s", "", "notify.retry.10s"),
    ("notify.retry.1m", "", "notify.retry.1m"),
    ("notify.retry.5m", "", "notify.retry.5m"),
    ("notify.retry.30m", "", "notify.retry.30m"),
    ("notify.retry.2h", "", "notify.retry.2h"),
    ("notify.dead", "config.#", "notify.dead.config"),
    ("notify.dead", "poison.#", "notify.dead.poison"),
    ("notify.dead", "exhausted.#", "notify.dead.exhausted"),
    ("notify.dead", "rejected.#", "notify.dead.exhausted"),
    ("notify.dead", "expired.#", "notify.dead.exhausted"),
    ("notify.unroutable", "", "notify.dead.unroutable"),
}


def renamed(value: Any, prefix: str) -> Any:
    """The data above under another prefix: every string that begins with `notify.`, wherever it stands."""
    if isinstance(value, str):
        return value.replace("notify.", f"{prefix}.", 1) if value.startswith("notify.") else value
    if isinstance(value, dict):
        return {renamed(key, prefix): renamed(item, prefix) for key, item in value.items()}
    if isinstance(value, (tuple, set)):
        return type(value)(renamed(item, prefix) for item in value)
    return value


prefixes = pytest.mark.parametrize("prefix", ["notify", "acme-cms.test"])


@prefixes
def test_exchanges_are_pinned(prefix: str) -> None:
    """Names, types and arguments, under any prefix."""
    declared = {exchange.name: (exchange.type, exchange.arguments) for exchange in topology(prefix).exchanges}
    assert declared == renamed(EXCHANGES, prefix)


@prefixes
def test_queues_are_pinned(prefix: str) -> None:
    """Names and arguments: another argument would be refused by every broker that has the queue."""
    assert {queue.name: queue.arguments for queue in topology(prefix).queues} == renamed(QUEUES, prefix)


@prefixes
def test_bindings_are_pinned(prefix: str) -> None:
    """Which key leads where."""
    bound = [(binding.exchange, binding.key, binding.queue) for binding in topology(prefix).bindings]
    assert set(bound) == renamed(BINDINGS, prefix)
    assert len(bound) == len(BINDINGS)


@prefixes
def test_the_streams_of_the_journal_are_pinned(prefix: str) -> None:
    """Declared apart, since a broker may have no streams; copies of all dead letters go to their own."""
    declared = journal_topology(prefix)
    arguments = {"x-queue-type": "stream", "x-max-age": "30D", "x-stream-max-segment-size-bytes": 50_000_000}
    expected = {"notify.journal": arguments, "notify.journal.dead": arguments}
    assert {queue.name: queue.arguments for queue in declared.queues} == renamed(expected, prefix)
    bound = {(binding.exchange, binding.key, binding.queue) for binding in declared.bindings}
    assert bound == renamed({("notify.dead", "#", "notify.journal.dead")}, prefix)


def test_the_prefix_is_notify_where_none_is_given() -> None:
    """As `NOTIFY_PREFIX` is documented."""
    assert topology() == topology("notify")


def test_an_exchange_is_declared_after_its_alternate() -> None:
    """So that no event is published before the place for a mistyped key exists."""
    names = [exchange.name for exchange in topology().exchanges]
    assert names.index("notify.unroutable") < names.index("notify.events")


@settings(max_examples=100, deadline=None)
@given(prefix=st.from_regex(r"[A-Za-z0-9._-]{1,100}", fullmatch=True))
def test_parts_name_what_the_topology_declares(prefix: str) -> None:
    """Every name that a part asks for is one that is declared, and fits AMQP's 255 bytes."""
    declared = topology(prefix)
    exchanges = {exchange.name for exchange in declared.exchanges}
    queues = {queue.name for queue in declared.queues}
    assert {events_exchange(prefix), unroutable_exchange(prefix), dead_exchange(prefix)} <= exchanges
    assert {retry_tier(tier, prefix) for tier in ("10s", "1m", "5m", "30m", "2h")} <= exchanges & queues
    assert {work_queue(lane, prefix) for lane in Lane} <= queues
    assert {dead_queue(name, prefix) for name in ("config", "poison", "exhausted", "unroutable")} <= queues
    assert max(map(len, exchanges | queues)) <= 255


@pytest.mark.parametrize("dead_class", DeadClass)
def test_every_class_of_dead_letters_has_one_queue(dead_class: str) -> None:
    """The one that is bound to its keys."""
    bound = {binding.queue for binding in topology().bindings if binding.key == f"{dead_class}.#"}
    assert {dead_queue_of(dead_class)} == bound


def test_every_family_has_one_lane() -> None:
    """A family without a lane would be unroutable, one with two would be mailed twice."""
    keys = [key for lane_keys in LANE_KEYS.values() for key in lane_keys]
    assert sorted(keys) == sorted(f"{family}.#" for family in FAMILIES)
