"""Spans and logs, with the names of `contracts.signals`. Neither may ever hold an address, a secret or a body.

Where nothing is exported spans are no-ops, and the trace ids of events stand in the log all the same.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog
from opentelemetry import context, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from structlog.typing import EventDict

from contracts.signals import INSTRUMENTATION, Attribute, LogField
from worker import __version__
from worker.errors import NotifyError

_PROPAGATOR: Final = TraceContextTextMapPropagator()

tracer: Final = trace.get_tracer(INSTRUMENTATION, __version__)


def context_of(traceparent: str, tracestate: str = "") -> context.Context:
    """The remote parent a `traceparent` names; an empty context for none or a broken one."""
    if not traceparent:
        return context.Context()
    carrier = {"traceparent": traceparent, "tracestate": tracestate}
    return _PROPAGATOR.extract(carrier, context=context.Context())


def recorded_traceparent(span: Span) -> str:
    """The `traceparent` that names `span`; empty if it is recorded nowhere."""
    return trace_of(span)[0] if span.is_recording() else ""


def trace_of(span: Span) -> tuple[str, str]:
    """`traceparent` and `tracestate` that name `span`, also one that is not sampled; empty without a trace."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, context.Context()))
    return carrier.get("traceparent", ""), carrier.get("tracestate", "")


def links_to(parent: context.Context) -> list[Link]:
    """A link to the span that `parent` names, or none."""
    return [Link(trace.get_current_span(parent).get_span_context())] if parent else []


def trace_id_of(span: Span) -> str:
    """32 hex digits, or empty without a trace."""
    span_context = span.get_span_context()
    return trace.format_trace_id(span_context.trace_id) if span_context.is_valid else ""


@contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **options: Any) -> Iterator[Span]:
    """A span around a block. A NotifyError marks it failed with its code; texts of others are not recorded."""
    with tracer.start_as_current_span(
        name, kind=kind, record_exception=False, set_status_on_exception=False, **options
    ) as current:
        try:
            yield current
        except NotifyError as error:
            fail(current, error.reason)
            raise


def describe(attributes: Mapping[str, AttributeValue]) -> None:
    """Says more of the span around, if there is one that is recorded."""
    trace.get_current_span().set_attributes(attributes)


def fail(current: Span, code: str) -> None:
    """Marks `current` as failed with a code of the contract."""
    current.set_status(Status(StatusCode.ERROR, code))
    current.set_attribute(Attribute.ERROR_TYPE, code)


def log_to(stream: Any = sys.stderr, level: int = logging.INFO) -> None:
    """Logs one JSON object a line to `stream`, or readable text where that is a terminal."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key=LogField.TIME),
    ]
    render: list[Any] = (
        [structlog.dev.ConsoleRenderer(timestamp_key=LogField.TIME)]
        if stream.isatty()
        else [structlog.processors.EventRenamer("message"), _known_fields_first, _as_json]
    )
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for noisy in ("aio_pika", "aiormq", "httpx", "httpcore"):
        # What they have to say is said by the worker, without addresses and passwords.
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    logging.getLogger("opentelemetry.util.re").addFilter(_without_headers)


def _without_headers(line: logging.LogRecord) -> bool:
    """What OpenTelemetry says of a header that it cannot read shows the header, so a key of the collector."""
    line.msg, line.args = "a part of OTEL_EXPORTER_OTLP_HEADERS is no name=value, and is ignored", ()
    return True


def _known_fields_first(_logger: Any, _method: str, line: EventDict) -> EventDict:
    return {**{field: line[field] for field in LogField if field in line}, **line}


_as_json: Final = structlog.processors.JSONRenderer(ensure_ascii=False)
