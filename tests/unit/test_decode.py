"""Bytes -> event, or a sentence that says what is wrong where."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.dead_letter import Reason
from contracts.events import Event, SystemEvent, WorkflowEvent
from tests.support.examples import EXAMPLES, SYSTEM, WORKFLOW, changed, example
from worker.decode import STRUCTURED, decode
from worker.errors import PermanentError

SUBMIT = example(WORKFLOW)
MISSED = example(SYSTEM)


def structured(event: Any, **options: Any) -> Event:
    """What a structured-mode message with `event` decodes to."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return decode(body, **{"content_type": STRUCTURED, "headers": {}, **options})


def refusal(event: Any, **options: Any) -> PermanentError:
    """The error of a message that must not decode."""
    with pytest.raises(PermanentError) as raised:
        structured(event, **options)
    return raised.value


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_every_example_decodes(path: Path) -> None:
    """The examples are what the contract means."""
    assert structured(path.read_bytes()).id


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json",
        "application/cloudevents+json; charset=utf-8",
        "Application/CloudEvents+JSON",
    ],
)
def test_the_content_type_of_structured_mode_may_have_parameters_and_any_case(content_type: str) -> None:
    """As the HTTP rules for media types say."""
    assert isinstance(structured(SUBMIT, content_type=content_type), WorkflowEvent)


@pytest.mark.parametrize("prefix", ["ce-", "cloudEvents:", "cloudEvents_", "CE-"])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", None])
def test_binary_mode_is_accepted_with_each_documented_prefix(prefix: str, content_type: str | None) -> None:
    """The attributes are headers, the body is the data."""
    headers = {f"{prefix}{name}": value for name, value in SUBMIT.items() if name != "data"}
    body = json.dumps(SUBMIT["data"]).encode()
    assert decode(body, content_type=content_type, headers=headers) == structured(SUBMIT)


def test_a_binary_time_may_be_an_amqp_timestamp() -> None:
    """Some clients send header times as timestamps, which arrive without a zone and mean UTC."""
    headers = {f"ce-{name}": value for name, value in SUBMIT.items() if name != "data"}
    headers["ce-time"] = datetime(2026, 11, 24, 14, 5, 12)  # noqa: DTZ001 - that is the case
    event = decode(json.dumps(SUBMIT["data"]).encode(), content_type=None, headers=headers)
    assert event.time == datetime(2026, 11, 24, 14, 5, 12, tzinfo=UTC)


def test_a_missing_time_is_the_messages_timestamp() -> None:
    """The AMQP timestamp stands in; without one the event is refused."""
    event = {name: value for name, value in SUBMIT.items() if name != "time"}
    moment = datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert structured(event, published=moment).time == moment
    assert refusal(event).reason is Reason.ENVELOPE


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        pytest.param(b"", Reason.ENVELOPE, "not JSON", id="nothing"),
        pytest.param(b"{", Reason.ENVELOPE, "not JSON at character", id="half a JSON"),
        pytest.param(b"\xff\xfe", Reason.ENVELOPE, "not JSON", id="no UTF-8"),
        pytest.param(b"[]", Reason.ENVELOPE, "object", id="a list"),
        pytest.param(b"null", Reason.ENVELOPE, "object", id="null"),
        pytest.param(b"[" * 100_000, Reason.ENVELOPE, "not JSON", id="too deep"),
        pytest.param({}, Reason.ENVELOPE, "type is missing", id="empty"),
        pytest.param(
            {**SUBMIT, "type": "com.contensis.nix.v1"}, Reason.UNKNOWN_TYPE, "type", id="unknown type"
        ),
        pytest.param({**SUBMIT, "type": None}, Reason.UNKNOWN_TYPE, "type", id="type null"),
        pytest.param({**SUBMIT, "specversion": "0.3"}, Reason.ENVELOPE, "specversion", id="specversion 0.3"),
        pytest.param({**SUBMIT, "id": ""}, Reason.ENVELOPE, "id: ", id="empty id"),
        pytest.param({**SUBMIT, "id": "a\nb"}, Reason.ENVELOPE, "id: ", id="id of two lines"),
        pytest.param(
            {**SUBMIT, "time": "2026-11-24T14:05:12"}, Reason.ENVELOPE, "time: ", id="time without offset"
        ),
        pytest.param({**SUBMIT, "dataref": "https://x.example"}, Reason.ENVELOPE, "dataref", id="claim check"),
        pytest.param({**SUBMIT, "data": None}, Reason.INVALID_DATA, "data: ", id="no data"),
        pytest.param(
            changed(SUBMIT, "data.recipients", []), Reason.INVALID_DATA, "data.recipients", id="no recipients"
        ),
        pytest.param(
            changed(SUBMIT, "data.from", "CMS <cms@x.example>\r\nBcc: all@x.example"),
            Reason.INVALID_DATA,
            "data.from",
            id="header injection in from",
        ),
        pytest.param(
            changed(SUBMIT, "data.workflow.transition.event", "scheduledApprove"),
            Reason.INVALID_DATA,
            "schedule is required",
            id="scheduledApprove without schedule",
        ),
    ],
)
def test_what_is_no_event_is_refused_with_the_path_of_the_fault(body: Any, reason: Reason, words: str) -> None:
    """One row a payload."""
    error = refusal(body)
    assert error.reason is reason
    assert words in error.detail


@pytest.mark.parametrize(
    ("content_type", "options", "words"),
    [
        ("application/json", {}, "neither content type"),
        (None, {}, "neither content type"),
        ("text/plain", {}, "neither content type"),
        ("application/cloudevents-batch+json", {}, "a batch"),
        (None, {"message_type": "amqp-1.0"}, "AMQP 1.0"),
        ("application/xml", {"headers": {"ce-specversion": "1.0"}}, "content type has to be application/json"),
    ],
)
def test_what_is_not_declared_as_an_event_is_refused_with_what_to_do(
    content_type: str | None, options: dict[str, Any], words: str
) -> None:
    """Anything but structured and binary mode."""
    error = refusal(SUBMIT, content_type=content_type, **options)
    assert error.reason is Reason.ENVELOPE
    assert words in error.detail


def test_no_value_of_the_event_is_repeated_in_an_error() -> None:
    """An event holds personal data, and errors end in logs and headers."""
    marker = "s3cret-marker"
    bad = changed(changed(SUBMIT, "data.recipients.0.reason", marker), "time", marker)
    bad = changed(bad, "data.replyTo", marker)
    assert marker not in str(refusal(bad))
    assert marker not in refusal(bad).detail


def test_unknown_fields_are_ignored_everywhere() -> None:
    """Publishers may be newer than the worker."""
    event = changed(SUBMIT, "data.recipients.0.shoeSize", 44)
    assert structured({**event, "extra": [1]}) == structured(SUBMIT)


def test_lone_surrogates_are_replaced() -> None:
    """They are legal in JSON's grammar and in no text."""
    body = json.dumps(changed(MISSED, "data.message.title", "a\ud800b\udfff")).encode()
    event = structured(body)
    assert isinstance(event, SystemEvent)
    assert event.data.message.title == "a\ufffdb\ufffd"


@given(st.binary())
def test_no_bytes_make_it_raise_anything_else(body: bytes) -> None:
    """Whatever comes, it is an event or a permanent error."""
    for content_type, headers in ((STRUCTURED, {}), (None, {"ce-specversion": "1.0"})):
        with pytest.raises(PermanentError):
            decode(body, content_type=content_type, headers=headers)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.sampled_from(sorted(SUBMIT["data"])), JSON)
def test_no_data_makes_it_raise_anything_else(field: str, value: Any) -> None:
    """Any JSON in any field of an event."""
    body = json.dumps(changed(SUBMIT, f"data.{field}", value)).encode()
    with suppress(PermanentError):
        assert structured(body).id == SUBMIT["id"]
