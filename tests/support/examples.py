"""The example events as JSON to change, and such JSON as an event."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from contracts.events import EVENT, Event
from contracts.samples import fresh

EXAMPLES: Final = Path(__file__).parents[2] / "contracts" / "examples"
NAMES: Final = tuple(sorted(path.stem for path in EXAMPLES.glob("*.json")))

WORKFLOW: Final = "workflow-submit"
SCHEDULED: Final = "workflow-scheduled-approve"
FORM: Final = "form-notification-and-autoresponder"
PASSWORD_RESET: Final = "password-reset-requested"
SYSTEM: Final = "system-schedule-missed"


def example(name: str) -> dict[str, Any]:
    """The JSON of an example event, to be changed at will."""
    loaded: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return loaded


def event_of(document: dict[str, Any]) -> Event:
    """The event that a JSON document is. Raises pydantic's ValidationError."""
    return EVENT.validate_json(json.dumps(document))


def fresh_example(name: str) -> dict[str, Any]:
    """An example event as if it happened now, with an id of its own."""
    return fresh(example(name), datetime.now(UTC))


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `document` with the value at the dotted `path` replaced, or added."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target: Any = copy
    for part in parents:
        target = target[part]
    target[last] = value
    return copy
