"""What policies make of the worker's queues: the broker takes the lower of two limits."""

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

    `harm` says what a policy does to it that it should not, `policies` names the policies.
    """

    queue: str
    limit: int | None
    harm: tuple[str, ...]
    policies: tuple[str, ...]
    loses: bool = False


def limits(queues: Iterable[Mapping[str, Any]], wanted: Iterable[Queue], prefix: str) -> Iterator[Limits]:
    """Each of `wanted` that is among `queues`, which are as the management API shows them."""
    shown = {str(it.get("name")): it for it in queues}
    for queue in wanted:
        if it := shown.get(queue.name):
            yield _limits(queue.name, it, prefix)


def _limits(name: str, shown: Mapping[str, Any], prefix: str) -> Limits:
    arguments, policy = _table(shown.get("arguments")), _table(shown.get("effective_policy_definition"))
    both = (arguments.get("x-delivery-limit"), policy.get(DELIVERY_LIMIT))
    known = [limit for limit in both if isinstance(limit, int)]
    limit = min(known, default=None)
    harm = [DROPS[key].format(value=policy[key]) for key in _harmful(name, prefix) if key in policy]
    if DELIVERY_LIMIT in policy and limit != arguments.get("x-delivery-limit"):
        harm.append(f"a message is handed out {limit} times only, then it is gone or dead")
    names = (shown.get("policy"), shown.get("operator_policy"))
    loses = bool(harm) and name in _dead_names(prefix)
    return Limits(name, limit, tuple(harm), tuple(str(it) for it in names if it), loses)


def _table(value: object) -> Mapping[str, Any]:
    # The API shows an empty table as a list.
    return value if isinstance(value, dict) else {}


def _harmful(name: str, prefix: str) -> Iterable[str]:
    if name in _dead_names(prefix) or name in {retry_tier(tier, prefix) for tier in RETRY_TIERS}:
        return DROPS
    return HARMS_WORK if name in {work_queue(lane, prefix) for lane in Lane} else ()


def _dead_names(prefix: str) -> set[str]:
    return {dead_queue(name, prefix) for name in (*DEAD_QUEUES, "unroutable")}
