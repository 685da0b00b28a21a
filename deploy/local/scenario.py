"""What the demo publishes: every example event, and three that must end as dead letters of three kinds."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from contracts.dead_letter import Reason
from contracts.events import EVENT
from contracts.samples import fresh
from contracts.topology import DEFAULT_PREFIX
from deploy.local import expected

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "contracts" / "examples"
OAUTH2_PREFIX = "demo-oauth2"


@dataclass(frozen=True, slots=True)
class Published:
    """A message for a worker, and all that has to come of it."""

    prefix: str
    key: str
    event_id: str
    body: bytes
    mails: tuple[expected.Mail, ...] = ()
    dead: tuple[expected.DeadLetter, ...] = ()


def scenario(now: datetime) -> list[Published]:
    """Everything the demo publishes at `now`."""
    reset, submit = example("password-reset-requested"), example("workflow-submit")
    return [
        *(_delivered(fresh(event, now)) for event in _examples()),
        _dead(_without_recipients(fresh(submit, now)), _key(submit), Reason.INVALID_DATA),
        _dead(fresh(reset, now - timedelta(hours=2)), _key(reset), Reason.EXPIRED),
        _dead(fresh(submit, now), _key(submit), Reason.OAUTH2_REQUIRES_TLS, prefix=OAUTH2_PREFIX),
    ]


def example(name: str) -> dict[str, Any]:
    """An example event by its file's name, without `.json`."""
    event: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return event


def _examples() -> Iterator[dict[str, Any]]:
    for path in sorted(EXAMPLES.glob("*.json")):
        yield example(path.stem)


def _delivered(event: dict[str, Any]) -> Published:
    mails = expected.mails(EVENT.validate_python(event))
    return Published(DEFAULT_PREFIX, _key(event), event["id"], _body(event), mails=tuple(mails))


def _dead(event: dict[str, Any], key: str, reason: Reason, *, prefix: str = DEFAULT_PREFIX) -> Published:
    return Published(prefix, key, event["id"], _body(event), dead=(expected.dead_letter(reason),))


def _without_recipients(event: dict[str, Any]) -> dict[str, Any]:
    invalid = copy.deepcopy(event)
    invalid["data"]["recipients"] = []
    return invalid


def _key(event: dict[str, Any]) -> str:
    return EVENT.validate_python(event).routing_key()


def _body(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False).encode()
