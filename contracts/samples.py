"""An example event made fresh: a new identity, and all its times moved by one offset, so that it happens now.

Example events are byte-stable files, and their times lie years from today. Whoever publishes one moves its
times together: a reset link keeps its hour, a schedule its five days, and nothing expires by the calendar.
"""

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})")


def fresh(event: dict[str, Any], now: datetime) -> dict[str, Any]:
    """A copy of a structured-mode event as if it happened at `now` (aware), with an identity of its own.

    Every string that is an RFC 3339 date-time moves, wherever it stands; any other text stays. `id` is new,
    and so is a `traceparent`, if there is one. Raises ValueError where `time` is missing or no date-time.
    """
    happened = _moment(event.get("time"))
    if happened is None:
        raise ValueError("time must be an RFC 3339 date-time with an offset")
    moved: dict[str, Any] = _map_strings(event, lambda text: _shift(text, happened, now))
    moved["id"] = str(uuid4())
    if "traceparent" in moved:
        moved["traceparent"] = _new_trace(str(moved["traceparent"]))
    return moved


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _map_strings(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_map_strings(part, change) for part in value]
    return value


def _shift(text: str, origin: datetime, now: datetime) -> str:
    moment = _moment(text)
    if moment is None:
        return text
    return (now + (moment - origin)).astimezone(moment.tzinfo).isoformat().replace("+00:00", "Z")


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str) or not _DATE_TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the shape of a date-time, but no such day or hour
        return None


def _new_trace(traceparent: str) -> str:
    """A trace of its own with the flags of the old one (W3C Trace Context, version 00)."""
    known = _TRACEPARENT.fullmatch(traceparent)
    flags = known[1] if known else "01"
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{flags}"
