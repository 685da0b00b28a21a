"""A receiver of OTLP over HTTP: takes what an exporter posts, and keeps the spans and the metrics in it."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TAKEN: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Receiver:
    """Answers 200 to every POST, and remembers."""

    spans: list[Span] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    port: int = 0

    @property
    def variables(self) -> dict[str, str]:
        """The standard variables by which a worker exports to it, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request after the other (HTTP/1.1)."""
        try:
            while request := await reader.readline():
                method, path, _ = request.decode().split()
                assert method == "POST"
                headers = await _headers(reader)
                body = await reader.readexactly(int(headers["content-length"]))
                self._keep(path, gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
                writer.write(TAKEN)
                await writer.drain()
        except ConnectionError:
            pass  # its worker was killed
        finally:
            writer.close()

    def _keep(self, path: str, body: bytes) -> None:
        self.received.append(body)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
        else:
            assert path == "/v1/metrics"
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for of in measured.scope_metrics:
                    self.metrics.extend(of.metrics)

    def named(self, name: str) -> list[Span]:
        """The spans whose name begins so, in the order in which they began."""
        found = [span for span in self.spans if span.name.startswith(name)]
        return sorted(found, key=lambda span: span.start_time_unix_nano)


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers = {}
    while line := (await reader.readline()).strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return headers


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()
    async with await asyncio.start_server(receiver.serve, "127.0.0.1", 0) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver
