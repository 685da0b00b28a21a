"""Whether the worker is alive and ready, and what it is like: for whoever restarts it, or looks.

Restarting helps against a fault of the worker itself and nothing else. So a mail server or RabbitMQ that is
away, and a pause on purpose, are no reason; a consumer that is lost and does not come back is one.
"""

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from worker import metrics
from worker.consume import Flow, Pause
from worker.endpoint import Answer, Page
from worker.exporters import Scrape

ROUNDS: Final = 60
"""Connections in a row, half a minute at least, over which no consumer came to be."""

CONSUMER_SECONDS: Final = 60.0
"""How long it may take on one connection."""

SILENCES: Final = 3
"""How often everything was opened anew because messages waited and none arrived."""

STUCK_SECONDS: Final = 1800.0
"""Longer than any delivery may take: 120 s for sessions, 300 for a message, 600 for its reply, tried again."""


def faults_of_life(flow: Flow, now: float, *, awaiting_broker: bool) -> list[str]:
    """Why the worker should be started anew, in sentences; empty while it should not."""
    expected = not flow.consuming and not flow.pauses
    connected = now - flow.connected_since if flow.connected_since is not None else 0.0
    stuck = any(flow.in_work.values()) and not awaiting_broker and now - flow.moved_at > STUCK_SECONDS
    rules = [
        (expected and flow.rounds >= ROUNDS, f"{flow.rounds} connections to RabbitMQ led to no consumer"),
        (expected and connected > CONSUMER_SECONDS, f"{connected:.0f} s on a connection without a consumer"),
        (flow.silences >= SILENCES, "messages wait, none arrives, and opening everything anew did not help"),
        (stuck, f"mail is in work, and nothing has ended for {now - flow.moved_at:.0f} s"),
    ]
    return [sentence for holds, sentence in rules if holds]


def faults_of_readiness(flow: Flow, topology: str) -> list[str]:
    """Why no events are taken, or would not be if there were some, in sentences. A pause on purpose is none."""
    if Pause.DRAIN in flow.pauses:
        return ["stopping"]
    if flow.connected_since is None:
        return ["not connected to RabbitMQ"]
    differs = [f"the topology is not the worker's: {topology}"] if topology else []
    return differs if flow.consuming or flow.pauses else ["no consumer is registered", *differs]


class Health:
    """Asks the parts when it is asked, and keeps what was last seen of the topology.

    `awaiting_broker` says whether anything waits for RabbitMQ's confirmation, `sessions` how many SMTP sessions
    there are in each state, `token_seconds` how long the first token to end is good for, None without any, and
    `breakers` which mail servers count as away.
    """

    def __init__(
        self,
        *,
        flow: Callable[[], Flow],
        awaiting_broker: Callable[[], bool],
        sessions: Callable[[], Mapping[str, int]],
        token_seconds: Callable[[], float | None],
        breakers: Callable[[], Mapping[str, bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flow = flow
        self._awaiting_broker = awaiting_broker
        self._sessions = sessions
        self._token_seconds = token_seconds
        self._breakers = breakers
        self._clock = clock
        self.topology = ""
        """How RabbitMQ's queues and exchanges differ from the worker's; empty if they do not."""

    def alive(self) -> list[str]:
        """Why the worker should be started anew; empty while it should not."""
        return faults_of_life(self._flow(), self._clock(), awaiting_broker=self._awaiting_broker())

    def ready(self) -> list[str]:
        """Why no events are taken; empty while they are, or would be but for a pause on purpose."""
        return faults_of_readiness(self._flow(), self.topology)

    def measure(self) -> None:
        """Sets the metrics that are levels: they are as they were when this was last called."""
        flow, token = self._flow(), self._token_seconds()
        metrics.inflight.set({(lane,): count for lane, count in flow.in_work.items()})
        metrics.prefetch_utilization.set(
            {(lane,): count / flow.prefetch[lane] for lane, count in flow.in_work.items()}
        )
        metrics.broker_connected.set({(): float(flow.connected_since is not None)})
        metrics.topology_differs.set({(): float(bool(self.topology))})
        metrics.smtp_sessions.set({(state,): count for state, count in self._sessions().items()})
        metrics.breaker_state.set({(server,): float(away) for server, away in self._breakers().items()})
        metrics.token_expires_in.set({} if token is None else {(): token})


def pages(health: Health, scrape: Scrape | None) -> dict[str, Page]:
    """What the endpoint serves, by path."""

    def scraped(accept: str) -> Answer:
        health.measure()
        media_type, body = scrape.page(accept) if scrape else ("text/plain; charset=utf-8", b"")
        return Answer(HTTPStatus.OK, body, media_type)

    return {
        "/livez": lambda _: Answer.of(health.alive()),
        "/readyz": lambda _: Answer.of(health.ready()),
        "/metrics": scraped,
    }
