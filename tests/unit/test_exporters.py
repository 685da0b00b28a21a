"""The standard variables of OpenTelemetry, and the page that Prometheus reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricReader
from structlog.testing import capture_logs

from worker import exporters
from worker.exporters import Scrape, export_metrics, export_traces, flush

NOWHERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
SCRAPE = Scrape()


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[MetricReader]:
    """What exports would be made of, without making them."""
    made: list[MetricReader] = []

    def periodic(exporter: OTLPMetricExporter) -> MetricReader:
        exporter.shutdown()
        made.append(Scrape().reader())
        return made[-1]

    monkeypatch.setattr(exporters, "PeriodicExportingMetricReader", periodic)
    return made


@pytest.mark.parametrize(
    ("environ", "exports"),
    [
        ({}, 0),
        (NOWHERE, 1),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9/v1/metrics"}, 1),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, 0),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, 1),
        ({"OTEL_METRICS_EXPORTER": "prometheus, otlp"}, 1),
        ({**NOWHERE, "OTEL_METRICS_EXPORTER": "prometheus"}, 0),
        ({**NOWHERE, "OTEL_METRICS_EXPORTER": "none"}, 0),
        ({**NOWHERE, "OTEL_SDK_DISABLED": "TRUE"}, 0),
    ],
)
def test_metrics_are_exported_as_the_standard_variables_say(
    environ: dict[str, str], exports: int, readers: list[MetricReader]
) -> None:
    """An endpoint asks for it, or the variable does; the last word has `none`, and `disabled` above it."""
    flush(export_metrics(environ, None))
    assert len(readers) == exports


@pytest.mark.parametrize(
    ("environ", "variables"),
    [
        ({"OTEL_TRACES_EXPORTER": "jaeger"}, ["OTEL_TRACES_EXPORTER"]),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({}, []),
    ],
)
def test_an_exporter_that_is_not_there_is_told(environ: dict[str, str], variables: list[str]) -> None:
    """By the variable; its value is not repeated."""
    with capture_logs() as said:
        assert export_traces(environ) is None
    assert [line["variable"] for line in said] == variables


def test_another_protocol_is_told(readers: list[MetricReader]) -> None:
    """Only HTTP is there: gRPC has another port."""
    with capture_logs() as said:
        flush(export_metrics({**NOWHERE, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None))
    assert ["4318" in line["event"] for line in said] == [True]


@settings(max_examples=100)
@given(st.text(max_size=80) | st.from_regex(r"(application/openmetrics-text|text/plain);[a-z0-9=.; -]{0,40}"))
def test_whatever_is_accepted_there_is_a_page(accept: str) -> None:
    """Strangers may ask."""
    media_type, page = SCRAPE.page(accept)
    assert media_type
    assert b"process_cpu_seconds" in page
