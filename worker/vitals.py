"""What the doctor has seen -> findings, each with what it means and what to do. Pure: nothing is asked here."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from yarl import URL

from contracts.definitions import whole_topology
from contracts.journal import SETTINGS_REV_HEADER, WORKER_HEADER
from contracts.topology import (
    DEAD_QUEUES,
    RETRY_TIERS,
    Binding,
    Lane,
    dead_queue,
    journal_stream,
    retry_tier,
    work_queue,
)
from worker import policies
from worker.broker import virtual_host
from worker.depths import Depth
from worker.findings import Finding, Mark, not_reached, passed
from worker.policies import Limits
from worker.survey import APPLY, Found, State
from worker.trail import parsed

UNREACHABLE: Final = "broker-unreachable"
REFUSED: Final = "broker-refused"
BROKER_SETTING: Final = "NOTIFY_BROKER_URL"
OLDEST: Final = (3, 10)
NEWEST_MAJOR: Final = 4
READ_BACK: Final = timedelta(hours=2)
SKEW_SECONDS: Final = 5.0
DEAD_LETTERS: Final = "notify-worker dead"
SHOWN: Final = 6


@dataclass(frozen=True, slots=True)
class Seen:
    """What the management API has told; None for what it did not. `why_not` says why it told nothing."""

    bindings: frozenset[Binding] | None = None
    policies: list[dict[str, Any]] | None = None
    disabled_flags: list[str] | None = None
    clock_ahead_seconds: float | None = None
    why_not: str = ""


@dataclass(slots=True)
class Heard:
    """What the journal has told: its newest record, and the settings revision of each worker heard of."""

    newest: str = ""
    by: str = ""
    revisions: dict[str, str] = field(default_factory=dict)

    def hear(self, headers: Mapping[str, Any], body: bytes) -> None:
        """A message of the journal, the newest so far."""
        worker, at = str(headers.get(WORKER_HEADER, "")), parsed(body.rpartition(b"\n")[2]).get("at")
        self.revisions[worker] = str(headers.get(SETTINGS_REV_HEADER, ""))
        self.newest, self.by = at if isinstance(at, str) else self.newest, worker


@dataclass(frozen=True, slots=True)
class Vitals:
    """What was found at a broker over AMQP, and what its management API has told."""

    url: URL
    prefix: str
    seen: Seen
    found: list[Found]
    depths: dict[str, Depth]

    @property
    def host(self) -> str:
        """The virtual host, as an argument of RabbitMQ's tools."""
        return shlex.quote(virtual_host(self.url))

    def is_there(self, queue: str) -> bool:
        """Whether this queue or exchange is as it should be."""
        return any(it.name == queue and it.state is State.PRESENT for it in self.found)


def broker(properties: Mapping[str, Any], url: URL) -> Finding:
    """The product and its version."""
    product, version = str(properties.get("product", "?")), str(properties.get("version", "?"))
    said = f"{product} {version}, virtual host {virtual_host(url)}, as {url.user or 'guest'}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if product != "RabbitMQ" or len(numbers) < len(OLDEST) or numbers[0] > NEWEST_MAJOR:
        return remark("broker", f"{said}: the worker was tried with RabbitMQ 3.10 to 4.x.", Mark.UNCLEAR)
    if numbers < OLDEST:
        return problem("broker", f"{said}: the worker needs RabbitMQ 3.10 or later.", hint="Update RabbitMQ.")
    return passed("broker", said)


def flags(vitals: Vitals) -> Iterator[Finding]:
    """Whether the kinds of queue that the worker needs work, and what is not enabled."""
    kinds = {
        "quorum queues": [work_queue(lane, vitals.prefix) for lane in Lane],
        "streams": [journal_stream(vitals.prefix)],
    }
    works = [kind for kind, names in kinds.items() if any(map(vitals.is_there, names))]
    unproven = [kind for kind in kinds if kind not in works]
    disabled = vitals.seen.disabled_flags
    see = "Run: rabbitmqctl list_feature_flags"
    if disabled:
        text = f"Not enabled: {listed(disabled)}. An update of RabbitMQ may refuse to start."
        yield remark("flags", text, hint="Run: rabbitmqctl enable_feature_flag all")
    elif unproven and disabled is None:
        yield remark("flags", f"No {' and no '.join(unproven)} to prove that they work.", Mark.UNCLEAR, see)
    else:
        yield passed("flags", " and ".join(works) + " work" if works else "all enabled")


def topology(vitals: Vitals) -> Iterator[Finding]:
    """What is missing or differs, with the steps that mend it."""
    if not vitals.found:
        text = "It cannot be compared: this user may not declare, or the broker cannot."
        yield remark("topology", text, Mark.UNCLEAR, "Run: notify-worker topology check")
        return
    missing = [it for it in vitals.found if it.state is State.MISSING]
    others = [it for it in vitals.found if it.wrong and it.state is not State.MISSING]
    unseen = sum(it.state is State.UNSEEN for it in vitals.found)
    if missing:
        text = f"{len(missing)} missing: {listed([f'{it.kind} {it.name}' for it in missing])}."
        yield problem("topology", text, hint=f"Run: {APPLY}")
    for it in others:
        steps = "; ".join(f"{number}. {step}" for number, step in enumerate(it.fix, 1))
        yield problem("topology", f"{it.kind} {it.name}: {it.text}.", hint=steps)
    if not missing and not others:
        seen = f"; {unseen} bindings not seen" if unseen else ""
        yield passed("topology", f"{len(vitals.found) - unseen} as they should be{seen}")


def limits(vitals: Vitals) -> Iterator[Finding]:
    """Delivery limits with all policies, and what policies do that loses mail."""
    wanted = whole_topology(vitals.prefix).queues
    if vitals.seen.policies is None:
        arguments = [queue.arguments for queue in wanted if vitals.is_there(queue.name)]
        own = sorted({int(it["x-delivery-limit"]) for it in arguments if "x-delivery-limit" in it})
        said = ", ".join(map(str, own)) or "unknown"
        text = f"Of the queues themselves: {said}. A policy may lower them, which was not seen."
        hint = f"Run: {_list_policies(vitals)}"
        yield remark("limits", text, Mark.UNCLEAR, hint)
        return
    effective = list(policies.limits(vitals.seen.policies, wanted, vitals.prefix))
    harmed = [it for it in effective if it.harm]
    yield from (_harmed(it, vitals) for it in harmed)
    if not harmed:
        counted = {it.limit for it in effective if it.limit}
        yield passed(
            "limits", f"delivery limits {', '.join(map(str, sorted(counted)))}; no policy harms a queue"
        )


def _harmed(it: Limits, vitals: Vitals) -> Finding:
    text = f"{it.queue}, by policy {listed(it.policies)}: {'; '.join(it.harm)}."
    hint = f"Take the queue out of the policy's pattern; to find it, run: {_list_policies(vitals)}"
    return problem("limits", text, hint=hint) if it.loses else remark("limits", text, hint=hint)


def _list_policies(vitals: Vitals) -> str:
    host = vitals.host
    return f"rabbitmqctl list_policies --vhost {host}; rabbitmqctl list_operator_policies --vhost {host}"


def queues(vitals: Vitals) -> Iterator[Finding]:
    """What waits, and who consumes it."""
    for lane in Lane:
        name = work_queue(lane, vitals.prefix)
        if depth := vitals.depths.get(name):
            yield _work(name, depth)
    tiers = {tier: vitals.depths.get(retry_tier(tier, vitals.prefix)) for tier in RETRY_TIERS}
    waiting = {tier: depth.messages for tier, depth in tiers.items() if depth and depth.messages}
    if waiting:
        shown = ", ".join(f"{count} for {tier}" for tier, count in waiting.items())
        yield passed("queues", f"waiting to be tried again: {shown}")
    for name, depth in vitals.depths.items():
        if depth.consumers and name not in _consumed(vitals.prefix):
            text = f"{name} has {depth.consumers} consumers: somebody takes out what should wait there."
            hint = f"To see who, run: rabbitmqctl list_consumers --vhost {vitals.host}"
            yield remark("queues", text, hint=hint)
    if not any(work_queue(lane, vitals.prefix) in vitals.depths for lane in Lane):
        yield from not_reached(["queues"])


def _work(name: str, depth: Depth) -> Finding:
    if depth.consumers:
        return passed("queues", f"{name}: {depth.messages} waiting, consumers: {depth.consumers}")
    text = f"{name}: {depth.messages} waiting, and nobody consumes. No worker runs, or it is paused."
    hint = "Run: notify-worker run. One that runs says in its log why it is paused: search for action pause."
    return problem("queues", text, hint=hint) if depth.messages else remark("queues", text, hint=hint)


def _consumed(prefix: str) -> set[str]:
    return {*(work_queue(lane, prefix) for lane in Lane), journal_stream(prefix)}


def dead(vitals: Vitals) -> Iterator[Finding]:
    """Dead letters that wait."""
    names = [dead_queue(name, vitals.prefix) for name in (*DEAD_QUEUES, "unroutable")]
    asked = {name: depth.messages for name in names if (depth := vitals.depths.get(name))}
    waiting = {name: count for name, count in asked.items() if count}
    if waiting:
        shown = ", ".join(f"{name} {count}" for name, count in waiting.items())
        yield remark("dead", f"Dead letters wait: {shown}.", hint=f"Run: {DEAD_LETTERS}")
    elif asked:
        yield passed("dead", "none wait")
    else:
        yield from not_reached(["dead"])


def told(heard: Heard, settings_rev: str) -> Iterator[Finding]:
    """What the journal has told. `settings_rev` is the revision of the settings here."""
    if not heard.newest:
        yield passed("journal", "readable, and empty: no worker has written to it yet")
        return
    shared = Counter(heard.revisions.values())
    under = f", under settings {listed(f'{rev} ({count})' for rev, count in shared.items())}" if shared else ""
    yield passed(
        "journal",
        f"readable; newest record {heard.newest}; workers that wrote in the last "
        f"{READ_BACK // timedelta(hours=1)} h: {len(heard.revisions)}{under}",
    )
    revision = heard.revisions.get(heard.by, settings_rev)
    if revision != settings_rev:
        text = f"The worker heard of last, {heard.by}, has settings {revision}; these here are {settings_rev}."
        hint = (
            "Those here are shown by: notify-worker settings. Where they are the new ones, restart the worker."
        )
        yield remark("journal", text, hint=hint)


def clock(seen: Seen, heard: Heard, now: datetime) -> Finding:
    """How the clocks differ, as far as anything tells."""
    hint = "Expiry and retries go by it. To see whether the network sets it, run: timedatectl"
    ahead = seen.clock_ahead_seconds
    if ahead is not None and abs(ahead) > SKEW_SECONDS:
        where = "ahead of" if ahead > 0 else "behind"
        return remark("clock", f"The clock here is {abs(ahead):.0f} s {where} the broker's.", hint=hint)
    if (early := _seconds_after(heard.newest, now)) > SKEW_SECONDS:
        text = f"The clock of worker {heard.by} is at least {early:.0f} s ahead of the one here."
        return remark("clock", text, hint=hint)
    if ahead is None:
        return passed("clock", "no record is of the future; the broker's clock is not seen")
    return passed("clock", f"within {SKEW_SECONDS:.0f} s of the broker's")


def _seconds_after(at: str, now: datetime) -> float:
    try:
        return (datetime.fromisoformat(at) - now).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def problem(step: str, text: str, code: str = "", *, hint: str = "") -> Finding:
    """Something that makes the doctor fail."""
    settings = (BROKER_SETTING,) if code in {UNREACHABLE, REFUSED} else ()
    return Finding(step, Mark.FAILED, text, code or f"broker-{step}", settings, hint=hint)


def remark(step: str, text: str, mark: Mark = Mark.WARNING, hint: str = "") -> Finding:
    """Something to know."""
    return Finding(step, mark, text, mark.lower(), hint=hint)


def listed(names: Iterable[str]) -> str:
    """The first of `names`, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
