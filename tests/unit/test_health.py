"""Who is to be started anew, and who takes events: a rule a row."""

from dataclasses import replace
from typing import Any

import pytest

from contracts.topology import Lane
from worker.consume import Flow, Pause
from worker.health import (
    CONSUMER_SECONDS,
    ROUNDS,
    SILENCES,
    STUCK_SECONDS,
    faults_of_life,
    faults_of_readiness,
)

NOW = 100_000.0
IDLE = dict.fromkeys(Lane, 0)
BUSY = {Lane.URGENT: 0, Lane.STANDARD: 3}
FLOW = Flow(
    connected_since=NOW - 1000,
    consuming=True,
    pauses=frozenset(),
    rounds=0,
    silences=0,
    in_work=IDLE,
    prefetch={Lane.URGENT: 16, Lane.STANDARD: 32},
    moved_at=NOW - 1,
)
LOST = {"consuming": False}
AWAY = {"consuming": False, "connected_since": None, "rounds": 1}
LONG_AGO = {"moved_at": NOW - STUCK_SECONDS - 1}


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        pytest.param({}, "", id="consuming"),
        pytest.param({"in_work": BUSY}, "", id="mail in work"),
        pytest.param(LONG_AGO, "", id="nothing to do for long"),
        pytest.param(AWAY, "", id="RabbitMQ away"),
        pytest.param({**AWAY, **LONG_AGO}, "", id="RabbitMQ away for hours"),
        pytest.param({**LOST, "pauses": frozenset({Pause.OUTAGE})}, "", id="mail server away"),
        pytest.param({**LOST, "pauses": frozenset({Pause.SUSPECT})}, "", id="a suspect runs alone"),
        pytest.param({**LOST, "pauses": frozenset({Pause.DRAIN})}, "", id="draining"),
        pytest.param(
            {**LOST, "connected_since": NOW - CONSUMER_SECONDS + 1}, "", id="just connected, not yet consuming"
        ),
        pytest.param(LOST, "1000 s on a connection without a consumer", id="consumer lost"),
        pytest.param(
            {**AWAY, "rounds": ROUNDS},
            f"{ROUNDS} connections to RabbitMQ led to no consumer",
            id="consumer refused again and again",
        ),
        pytest.param({**AWAY, "rounds": ROUNDS - 1}, "", id="refused, but not that often yet"),
        pytest.param({"silences": SILENCES - 1}, "", id="silent, and opened anew"),
        pytest.param(
            {"silences": SILENCES},
            "messages wait, none arrives, and opening everything anew did not help",
            id="silent again and again",
        ),
        pytest.param(
            {"in_work": BUSY, **LONG_AGO}, "mail is in work, and nothing has ended for 1801 s", id="stuck"
        ),
    ],
)
def test_only_what_a_restart_mends_is_a_reason_for_one(changed: dict[str, Any], fault: str) -> None:
    """Faults of the worker itself; not those of what is around it, and no pause on purpose."""
    found = faults_of_life(replace(FLOW, **changed), NOW, awaiting_broker=False)
    assert found == ([fault] if fault else [])


def test_mail_that_waits_for_the_brokers_confirmation_is_not_stuck() -> None:
    """In a memory alarm copies wait for hours, and a restart would send what is not recorded again."""
    stuck = replace(FLOW, in_work=BUSY, moved_at=NOW - STUCK_SECONDS - 1)
    assert faults_of_life(stuck, NOW, awaiting_broker=True) == []


@pytest.mark.parametrize(
    ("changed", "topology", "faults"),
    [
        pytest.param({}, "", [], id="consuming"),
        pytest.param({**LOST, "pauses": frozenset({Pause.OUTAGE})}, "", [], id="paused on purpose"),
        pytest.param(AWAY, "", ["not connected to RabbitMQ"], id="RabbitMQ away"),
        pytest.param(LOST, "", ["no consumer is registered"], id="not consuming"),
        pytest.param({}, "queue x: y", ["the topology is not the worker's: queue x: y"], id="topology differs"),
        pytest.param(
            LOST,
            "queue x: y",
            ["no consumer is registered", "the topology is not the worker's: queue x: y"],
            id="both",
        ),
        pytest.param({**LOST, "pauses": frozenset({Pause.DRAIN})}, "", ["stopping"], id="draining"),
    ],
)
def test_ready_is_who_takes_events_or_would(changed: dict[str, Any], topology: str, faults: list[str]) -> None:
    """The broker, the topology and the consumers decide."""
    assert faults_of_readiness(replace(FLOW, **changed), topology) == faults
