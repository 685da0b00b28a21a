"""The example events as JSON to change, and such JSON as an event."""

import json
from pathlib import Path
from typing import Any, Final

from contracts.events import EVENT, Event

EXAMPLES: Final = Path(__file__).parents[2] / "contracts" / "examples"
NAMES: Final = tuple(sorted(path.stem for path in EXAMPLES.glob("*.json")))

WORKFLOW: Final = "workflow-submit"
SCHEDULED: Final = "workflow-scheduled-approve"
FORM: Final = "form-notification-and-autoresponder"
PASSWORD_RESET: Final = "password-reset-requested"  # noqa: S105 - an example's name
SYSTEM: Final = "system-schedule-missed"


def example(name: str) -> dict[str, Any]:
    """The JSON of an example event, to be changed at will."""
    loaded: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return loaded


def event_of(document: dict[str, Any]) -> Event:
    """The event that a JSON document is. Raises pydantic's ValidationError."""
    return EVENT.validate_json(json.dumps(document))
