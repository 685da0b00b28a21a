"""Log lines for machines and for people, and traces told from what publishers write."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.util.re import parse_env_headers

from contracts.signals import Action, LogField
from worker import telemetry

TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Terminal(io.StringIO):
    """Says that somebody looks."""

    def isatty(self) -> bool:
        """It does."""
        return True


@pytest.fixture
def quiet_again() -> Iterator[None]:
    """The log is as it was afterwards."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    names = logging.getLogger("opentelemetry.util.re")
    names.filters.clear()


def settled(stream: io.StringIO) -> str:
    """What is written of a mail's end."""
    telemetry.log_to(stream)
    structlog.get_logger().info("delivered", mail="m", outcome="delivered", action=Action.SETTLE, trace_id="t")
    return stream.getvalue()


def test_a_line_is_one_json_object_with_the_known_fields_first(quiet_again: None) -> None:
    """In the order of the contract, whatever order they were said in."""
    (line,) = settled(io.StringIO()).splitlines()
    said = json.loads(line)
    known = [field for field in LogField if field in said]
    assert list(said)[: len(known)] == known
    assert (said["action"], said["outcome"], said["trace_id"]) == ("settle", "delivered", "t")


def test_on_a_terminal_it_is_text_to_read(quiet_again: None) -> None:
    """With the same fields."""
    text = settled(Terminal())
    assert not text.startswith("{")
    assert "delivered" in text
    assert "action" in text


def test_a_header_of_the_exporter_that_cannot_be_read_is_not_shown(quiet_again: None) -> None:
    """It is a key of the collector, as a rule."""
    stream = io.StringIO()
    telemetry.log_to(stream)
    parse_env_headers("s3cret-key without equals", liberal=True)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in stream.getvalue()
    assert "s3cret" not in stream.getvalue()


@pytest.mark.parametrize(
    ("traceparent", "names_a_span"),
    [
        (TRACEPARENT, True),
        ("", False),
        ("garbage", False),
        (f"00-{'0' * 32}-{'b' * 16}-01", False),
        (f"00-{'a' * 32}-{'b' * 16}", False),
        (f"ff-{'a' * 32}-{'b' * 16}-01", False),
    ],
)
def test_only_a_whole_traceparent_names_a_span(traceparent: str, names_a_span: bool) -> None:  # noqa: FBT001
    """Anything else is as good as none."""
    parent = telemetry.context_of(traceparent)
    assert bool(parent) is names_a_span
    assert len(telemetry.links_to(parent)) == names_a_span


def test_a_span_that_is_not_sampled_is_named_but_linked_by_nobody() -> None:
    """The decision goes with the copy; a link would lead to nothing."""
    span = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test").start_span("process")
    traceparent, _ = telemetry.trace_of(span)
    assert int(traceparent[-2:], 16) & 1 == 0
    assert telemetry.recorded_traceparent(span) == ""


def test_without_a_trace_there_is_nothing_to_name() -> None:
    """As where nothing is exported and the publisher says nothing."""
    assert telemetry.trace_of(trace.INVALID_SPAN) == ("", "")
    assert telemetry.trace_id_of(trace.INVALID_SPAN) == ""


def test_the_state_beside_a_trace_is_kept() -> None:
    """It belongs to the publisher's tracing system."""
    parent = telemetry.context_of(TRACEPARENT, "cms=7")
    assert telemetry.trace_of(trace.get_current_span(parent)) == (TRACEPARENT, "cms=7")
