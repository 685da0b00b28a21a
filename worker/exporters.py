"""Where spans and metrics go, by the standard `OTEL_*` variables: to a collector by OTLP over HTTP, or nowhere.

Metrics can also be read at the worker's own endpoint. What is wanted nowhere is not set up, and costs nothing.
"""

import threading
from collections.abc import Mapping
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from contracts.signals import INSTRUMENTATION, Action
from worker import __version__, metrics

FLUSH_SECONDS: Final = 2.0
HTTP: Final = "http/protobuf"

Provider = TracerProvider | MeterProvider

log = structlog.get_logger()


class Scrape:
    """All metrics as Prometheus reads them, with those of the process itself."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def reader(self) -> MetricReader:
        """What collects the worker's own metrics for it."""
        return PrometheusMetricReader(registry=self._registry, scope_info_enabled=False)

    def page(self, accept: str) -> tuple[str, bytes]:
        """Media type and text of all there is now, in the format that the header `Accept` asks for."""
        encode, media_type = choose_encoder(accept)
        return media_type, encode(self._registry)


def export_traces(environ: Mapping[str, str]) -> TracerProvider | None:
    """Exports spans if the standard variables name an endpoint, or `OTEL_TRACES_EXPORTER=otlp`.

    Which traces are sampled is for the parent to say, unless `OTEL_TRACES_SAMPLER` says otherwise. Returns the
    provider, whose `shutdown` sends what is left, or None.
    """
    if not _exports_by_otlp(environ, "TRACES"):
        return None
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def export_metrics(environ: Mapping[str, str], scrape: Scrape | None) -> MeterProvider | None:
    """Collects metrics for `scrape`, and exports them if the standard variables say so, as for spans."""
    readers: list[MetricReader] = [scrape.reader()] if scrape else []
    if _exports_by_otlp(environ, "METRICS"):
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if not readers or _is_disabled(environ):
        return None
    provider = MeterProvider(readers, _resource(), exemplar_filter=AlwaysOffExemplarFilter())
    metrics.offer_to(provider.get_meter(INSTRUMENTATION, __version__))
    return provider


def flush(*providers: Provider | None) -> None:
    """Sends what is left, if it can be sent within two seconds: a silent collector must not hold up the end."""
    last = [threading.Thread(target=it.shutdown, daemon=True) for it in providers if it is not None]
    for thread in last:
        thread.start()
    for thread in last:
        thread.join(FLUSH_SECONDS)


def _exports_by_otlp(environ: Mapping[str, str], signal: str) -> bool:
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    variable = f"OTEL_{signal}_EXPORTER"
    default = "otlp" if any(environ.get(name) for name in endpoints) else "none"
    wanted = {name.strip() for name in (environ.get(variable) or default).split(",")}
    if _is_disabled(environ) or "otlp" not in wanted:
        _say_of_unknown(variable, wanted, signal)
        return False
    protocols = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environ[name] for name in protocols if environ.get(name)), HTTP)
    if protocol != HTTP:
        log.warning(
            "OTLP goes by http/protobuf only: name the collector's HTTP port in the endpoint, such as 4318",
            action=Action.WARN,
            variable=protocols[1],
        )
    return True


def _say_of_unknown(variable: str, wanted: set[str], signal: str) -> None:
    known = {"none", "otlp", "prometheus"} if signal == "METRICS" else {"none", "otlp"}
    if wanted - known:
        log.warning(
            "an exporter of this variable is not there, and is ignored",
            action=Action.WARN,
            variable=variable,
            known=sorted(known),
        )


def _is_disabled(environ: Mapping[str, str]) -> bool:
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _resource() -> Resource:
    named = OTELResourceDetector().detect().attributes.get(SERVICE_NAME)
    return Resource.create({} if named else {SERVICE_NAME: INSTRUMENTATION})
