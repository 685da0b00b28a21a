"""What policies make of the worker's queues: the broker takes the lower of two limits."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.topology import DEAD_QUEUES, RETRY_TIERS, Lane, Queue, dead_queue, retry_tier, work_queue

DELIVERY_LIMIT: Final = "delivery-limit"
DROPS: Final = {
    "message-ttl": "what waits longer than {value} ms is gone",
    "expires": "the queue itself is deleted when nobody uses it for {value} ms",
    "max-length": "it holds {value} messages at most",
    "max-length-bytes": "it holds {value} bytes at most",
}
"""What a policy may set that loses what is in a queue -> what it does."""

HARMS_WORK: Final = ("message-ttl", "expires")


@dataclass(frozen=True, slots=True)
class Limits:
    """A queue as it is with its policies: `limit` is how often a message is handed out, None for no limit.

    `harm` says what policies do to it that they should not; `loses` is true where dead letters are lost by it.
    """

    queue: str
    limit: int | None
    harm: tuple[str, ...]
    policies: tuple[str, ...]
    loses: bool = False


def limits(policies: Iterable[Mapping[str, Any]], wanted: Iterable[Queue], prefix: str) -> Iterator[Limits]:
    """Each of `wanted` under `policies`, operators' included, which are as the management API shows them."""
    policies = list(policies)
    for queue in wanted:
        yield _limits(queue, list(_in_effect(policies, queue)), prefix)


def _in_effect(policies: Iterable[Mapping[str, Any]], queue: Queue) -> Iterator[Mapping[str, Any]]:
    """Of users' and of operators' policies the one with the highest priority."""
    kinds: dict[bool, Mapping[str, Any]] = {}
    for policy in policies:
        before = kinds.get(is_operators := bool(policy.get("operator")))
        if _is_about(policy, queue) and (not before or _priority(policy) > _priority(before)):
            kinds[is_operators] = policy
    return iter(kinds.values())


def _is_about(policy: Mapping[str, Any], queue: Queue) -> bool:
    kind = f"{queue.arguments.get('x-queue-type', 'classic')}_queues".replace("stream_queues", "streams")
    try:
        return policy.get("apply-to") in {"all", "queues", kind} and bool(
            re.search(str(policy.get("pattern")), queue.name)
        )
    except re.error:
        return False


def _priority(policy: Mapping[str, Any]) -> int:
    return int(policy.get("priority") or 0)


def _limits(queue: Queue, policies: list[Mapping[str, Any]], prefix: str) -> Limits:
    own = queue.arguments.get("x-delivery-limit")
    low = {
        key: min(values)
        for key in (DELIVERY_LIMIT, *DROPS)
        if (values := [int(it["definition"][key]) for it in policies if key in it.get("definition", ())])
    }
    harm = [DROPS[key].format(value=low[key]) for key in _harmful(queue.name, prefix) if key in low]
    known = [int(limit) for limit in (own, low.get(DELIVERY_LIMIT)) if limit is not None]
    limit = min(known, default=None)
    if own is not None and limit != own:
        harm.append(f"a message is handed out {limit} times only, then it is gone or dead")
    loses = bool(harm) and queue.name in _dead_names(prefix)
    return Limits(queue.name, limit, tuple(harm), tuple(str(it.get("name")) for it in policies), loses)


def _harmful(name: str, prefix: str) -> Iterable[str]:
    if name in _dead_names(prefix) or name in {retry_tier(tier, prefix) for tier in RETRY_TIERS}:
        return DROPS
    return HARMS_WORK if name in {work_queue(lane, prefix) for lane in Lane} else ()


def _dead_names(prefix: str) -> set[str]:
    return {dead_queue(name, prefix) for name in (*DEAD_QUEUES, "unroutable")}
