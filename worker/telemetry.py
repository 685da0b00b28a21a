"""Traces and logs: set up once, by the standard `OTEL_*` variables, with the names of `contracts.signals`.

Without those variables nothing is exported and spans are no-ops. Nothing set up here may ever hold an address,
a secret or a body.
"""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import structlog
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.typing import EventDict

from contracts.signals import INSTRUMENTATION, Attribute, LogField
from worker import __version__
from worker.errors import NotifyError

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

FLUSH_SECONDS: Final = 2.0

tracer: Final = trace.get_tracer(INSTRUMENTATION, __version__)


def export_traces(environ: Mapping[str, str]) -> TracerProvider | None:
    """Exports spans by OTLP/HTTP if the standard variables name an endpoint or `OTEL_TRACES_EXPORTER=otlp`.

    Returns the provider, whose `shutdown` sends what is left, or None.
    """
    wanted = environ.get("OTEL_TRACES_EXPORTER", "otlp" if any(environ.get(n) for n in _ENDPOINTS) else "none")
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or "otlp" not in wanted.split(","):
        return None
    named = OTELResourceDetector().detect().attributes.get(SERVICE_NAME)
    provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: INSTRUMENTATION}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def flush(provider: TracerProvider | None) -> None:
    """Sends what is left, if it can be sent within two seconds: a silent collector must not hold up the end."""
    if provider is not None:
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(FLUSH_SECONDS)


def context_of(traceparent: str, tracestate: str = "") -> context.Context:
    """The remote parent a `traceparent` names; an empty context for none or a broken one."""
    carrier = {"traceparent": traceparent, "tracestate": tracestate}
    return _PROPAGATOR.extract(carrier, context=context.Context())


def recorded_traceparent(span: Span) -> str:
    """The `traceparent` that names `span`; empty if it is recorded nowhere."""
    if not span.is_recording():
        return ""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, context.Context()))
    return carrier.get("traceparent", "")


def link_to(traceparent: str) -> list[Link]:
    """A link to the span `traceparent` names, or none."""
    span_context = trace.get_current_span(context_of(traceparent)).get_span_context()
    return [Link(span_context)] if span_context.is_valid else []


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


def _known_fields_first(_logger: Any, _method: str, line: EventDict) -> EventDict:
    return {**{field: line[field] for field in LogField if field in line}, **line}


_as_json: Final = structlog.processors.JSONRenderer(ensure_ascii=False)
