"""Bytes from the broker -> an event of the contract, or a permanent error that says what is wrong where.

Structured mode (`application/cloudevents+json`) and binary mode (headers `ce-`, `cloudEvents:` or
`cloudEvents_`) of CloudEvents 1.0 are accepted. No error repeats a value: an event holds personal data.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from contracts.dead_letter import Reason
from contracts.events import EVENT, Event
from worker.errors import PermanentError

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
BINARY_PREFIXES: Final = ("ce-", "cloudevents:", "cloudevents_")
AMQP_1_0_TYPE: Final = "amqp-1.0"
SHOWN_FAULTS: Final = 5


def decode(
    body: bytes,
    *,
    content_type: str | None,
    headers: Mapping[str, Any],
    message_type: str | None = None,
    published: datetime | None = None,
) -> Event:
    """The event in an AMQP message; `published`, the message's timestamp, stands in for a missing `time`.

    Raises PermanentError with `envelope`, `unknown-type` or `invalid-data`.
    """
    media_type = (content_type or "").partition(";")[0].strip().lower()
    attributes = binary_attributes(headers)
    if media_type == STRUCTURED:
        return _structured(body, published)
    if "specversion" in attributes:
        return _binary(body, media_type, attributes, published)
    raise PermanentError(Reason.ENVELOPE, _why_not_an_event(media_type, message_type))


def _structured(body: bytes, published: datetime | None) -> Event:
    try:
        return EVENT.validate_json(body)
    except ValidationError as error:
        if not _may_be_mended(error):
            raise _refusal(error) from None
    return _validated(_lenient_json(body), published)


def _binary(body: bytes, media_type: str, attributes: Mapping[str, Any], published: datetime | None) -> Event:
    if media_type not in ("", "application/json", "text/json"):
        raise PermanentError(Reason.ENVELOPE, "binary mode: the content type has to be application/json")
    return _validated({**attributes, "data": _lenient_json(body)}, published)


def _validated(event: Any, published: datetime | None) -> Event:
    if isinstance(event, dict) and "time" not in event and published is not None:
        event["time"] = published.astimezone(UTC).isoformat()
    try:
        return EVENT.validate_python(event)
    except ValidationError as error:
        raise _refusal(error) from None


def binary_attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope of an event in binary mode; empty where the headers hold none."""
    return {
        name[len(prefix) :].lower(): _as_text(value)
        for name, value in headers.items()
        for prefix in BINARY_PREFIXES
        if name.lower().startswith(prefix)
    }


def _as_text(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _may_be_mended(error: ValidationError) -> bool:
    # Lone surrogates are legal in JSON's grammar but not in UTF-8; `time` may come from the AMQP timestamp.
    return any(
        fault["type"] == "json_invalid" or (fault["type"] == "missing" and fault["loc"][-1] == "time")
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    )


def _lenient_json(body: bytes) -> Any:
    try:
        return _without_lone_surrogates(json.loads(body, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise PermanentError(Reason.ENVELOPE, f"the body is not JSON{where}") from None


def _no_constant(_name: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _without_lone_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_without_lone_surrogates(item) for item in value]
        case dict():
            return {_without_lone_surrogates(k): _without_lone_surrogates(v) for k, v in value.items()}
        case _:
            return value


def _refusal(error: ValidationError) -> PermanentError:
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    detail = "; ".join(f"{_path(fault)}: {_message(fault)}" for fault in faults[:SHOWN_FAULTS])
    if len(faults) > SHOWN_FAULTS:
        detail += f"; and {len(faults) - SHOWN_FAULTS} more"
    return PermanentError(_reason(faults), detail)


def _reason(faults: list[ErrorDetails]) -> Reason:
    if any(fault["type"] == "union_tag_invalid" for fault in faults):
        return Reason.UNKNOWN_TYPE
    in_data = all("data" in fault["loc"][1:2] for fault in faults)
    return Reason.INVALID_DATA if in_data else Reason.ENVELOPE


def _path(fault: ErrorDetails) -> str:
    # The first part is the union's tag, the event type.
    return ".".join(map(str, fault["loc"][1:])) or "event"


def _message(fault: ErrorDetails) -> str:
    if fault["type"] == "union_tag_invalid":
        return "the type is none of the four this worker knows"
    if fault["type"] == "union_tag_not_found":
        return "type is missing"
    return fault["msg"].removeprefix("Value error, ")


def _why_not_an_event(media_type: str, message_type: str | None) -> str:
    if message_type == AMQP_1_0_TYPE:
        return "an AMQP 1.0 message with several sections or a value: send one data section"
    if media_type == BATCH:
        return "a batch: publish each event as its own message"
    return f"neither content type {STRUCTURED} nor ce- headers"
