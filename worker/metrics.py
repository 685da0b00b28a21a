"""What is counted and measured, with the names of `contracts.signals`.

Counting a mail must not cost what sending one does. A counter here is an entry of a dictionary, and a level a
value that is set now and then; OpenTelemetry reads both when somebody collects. Only durations go through it at
once, and cost nothing while nobody collects.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

from contracts.dead_letter import ABOUT
from contracts.signals import Label, Metric

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of durations, those of the messaging conventions."""

AGES: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
"""Bounds of an event's age: from one that waited for nobody to one that was retried for a day."""

_NOWHERE: Final = Context()
"""No span: no example trace is kept, and looking one up costs something."""


_ALL: Final[list["Tally | Level | Spread"]] = []


def offer_to(meter: Meter) -> None:
    """Lets `meter` collect everything that is counted and measured here."""
    for instrument in _ALL:
        instrument.offer_to(meter)


class Tally:
    """A counter with a value for each of `labels`.

    Where `known` has the values that there can be, each is told as 0 from the beginning: Prometheus sees no
    increase in what begins with 1.
    """

    def __init__(
        self,
        name: Metric,
        unit: str,
        description: str,
        *labels: Label,
        known: Iterable[tuple[str, ...]] = (),
    ) -> None:
        self._about = name, unit, description
        self._labels = labels
        self._counts: dict[tuple[str, ...], int] = dict.fromkeys(known, 0)
        _ALL.append(self)

    def add(self, *values: str) -> None:
        """One more, for these values of its labels."""
        self._counts[values] = self._counts.get(values, 0) + 1

    def count(self, *values: str) -> int:
        """How many there were, for these values of its labels."""
        return self._counts.get(values, 0)

    def offer_to(self, meter: Meter) -> None:
        """Lets `meter` collect it."""
        name, unit, description = self._about
        meter.create_observable_counter(name, [self._observed], unit, description)

    def _observed(self, _options: CallbackOptions) -> Iterable[Observation]:
        # A copy, since the exporter collects in a thread of its own.
        return [Observation(count, _named(self._labels, key)) for key, count in list(self._counts.items())]


class Level:
    """Something that rises and falls, with a value for each of `labels`; not told until it is set."""

    def __init__(self, name: Metric, unit: str, description: str, *labels: Label) -> None:
        self._about = name, unit, description
        self._labels = labels
        self._values: Mapping[tuple[str, ...], float] = {}
        _ALL.append(self)

    def set(self, values: Mapping[tuple[str, ...], float]) -> None:
        """What it is now, by the values of its labels; others that it was known for are forgotten."""
        self._values = dict(values)

    def offer_to(self, meter: Meter) -> None:
        """Lets `meter` collect it."""
        name, unit, description = self._about
        meter.create_observable_gauge(name, [self._observed], unit, description)

    def _observed(self, _options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, _named(self._labels, key)) for key, value in self._values.items()]


class Spread:
    """Durations in seconds, counted between `bounds`, for each of `labels`."""

    def __init__(self, name: Metric, bounds: Iterable[float], description: str, *labels: Label) -> None:
        self._about = name, description
        self._bounds = tuple(bounds)
        self._labels = labels
        self._known: dict[tuple[str, ...], dict[str, str]] = {}
        self._histogram: Histogram | None = None
        _ALL.append(self)

    def record(self, seconds: float, *values: str) -> None:
        """One more that took so long, for these values of its labels."""
        if self._histogram is None:
            return
        attributes = self._known.get(values)
        if attributes is None:
            attributes = self._known[values] = _named(self._labels, values)
        self._histogram.record(seconds, attributes, _NOWHERE)

    def offer_to(self, meter: Meter) -> None:
        """Lets `meter` collect it."""
        name, description = self._about
        self._histogram = meter.create_histogram(
            name, "s", description, explicit_bucket_boundaries_advisory=self._bounds
        )


def _named(labels: tuple[Label, ...], values: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(map(str, labels), values, strict=True))


consumed: Final = Tally(
    Metric.CONSUMED, "{message}", "Deliveries of work queues, those that came again too.", Label.DESTINATION
)
process_duration: Final = Spread(
    Metric.PROCESS_DURATION, SECONDS, "From a delivery's arrival to its settlement.", Label.DESTINATION
)
sent: Final = Tally(
    Metric.SENT, "{message}", "Copies that RabbitMQ has confirmed: retries and dead letters.", Label.DESTINATION
)
operation_duration: Final = Spread(
    Metric.OPERATION_DURATION, SECONDS, "From publishing a copy to its confirmation.", Label.DESTINATION
)
outcomes: Final = Tally(
    Metric.OUTCOMES,
    "{mail}",
    "Mails by how they ended, and why.",
    Label.OUTCOME,
    Label.EVENT_TYPE,
    Label.CODE,
)
event_age: Final = Spread(
    Metric.EVENT_AGE, AGES, "From the event's time, by the CMS's clock, to its settlement.", Label.LANE
)
retries: Final = Tally(
    Metric.RETRIES,
    "{message}",
    "Copies that wait in a retry queue, by the last failure.",
    Label.TIER,
    Label.CODE,
)
dead_letters: Final = Tally(
    Metric.DEAD_LETTERS,
    "{message}",
    "Dead letters, by class and code.",
    Label.CLASS,
    Label.CODE,
    known=[(about.dead_class, reason) for reason, about in ABOUT.items()],
)
expired: Final = Tally(Metric.EXPIRED, "{message}", "Dead letters that were not sent in time.", known=[()])
redeliveries: Final = Tally(
    Metric.REDELIVERIES,
    "{message}",
    "Deliveries that RabbitMQ repeated: adopted by the run that had them, settled before, or run again.",
    Label.RESULT,
    known=[("adopted",), ("settled",), ("rerun",)],
)
duplicates_prevented: Final = Tally(
    Metric.DUPLICATES_PREVENTED,
    "{mail}",
    "Mails that were not sent again, since they had been.",
    known=[()],
)
inflight: Final = Level(Metric.INFLIGHT, "{message}", "Deliveries in work.", Label.LANE)
prefetch_utilization: Final = Level(
    Metric.PREFETCH_UTILIZATION, "1", "Deliveries in work, of those that may be.", Label.LANE
)
work_depth: Final = Level(Metric.WORK_DEPTH, "{message}", "Events that wait for a worker.", Label.LANE)
dead_depth: Final = Level(Metric.DEAD_DEPTH, "{message}", "Messages in a dead queue.", Label.QUEUE)
smtp_sessions: Final = Level(Metric.SMTP_SESSIONS, "{session}", "SMTP sessions, busy or idle.", Label.STATE)
smtp_pool_wait: Final = Spread(
    Metric.SMTP_POOL_WAIT, SECONDS, "How long a mail waited for a session, opening included.", Label.LANE
)
smtp_send_duration: Final = Spread(
    Metric.SMTP_SEND_DURATION, SECONDS, "From MAIL to the server's last word on a mail.", Label.SERVER
)
smtp_replies: Final = Tally(
    Metric.SMTP_REPLIES, "{mail}", "Mails by the code of the reply that decided; 0 without one.", Label.CODE
)
token_expires_in: Final = Level(
    Metric.TOKEN_EXPIRES_IN, "s", "How long the OAuth2 token that ends first is good for."
)
breaker_state: Final = Level(
    Metric.BREAKER_STATE, "", "1 while the mail server counts as away and nothing is taken.", Label.SERVER
)
broker_connected: Final = Level(
    Metric.BROKER_CONNECTED, "", "1 while connected to RabbitMQ to consume, else 0."
)
topology_differs: Final = Level(
    Metric.TOPOLOGY_DIFFERS, "", "1 while RabbitMQ's queues and exchanges are not as the worker needs them."
)
