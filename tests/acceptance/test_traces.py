"""One trace from the CMS to the server's 250, exported by the standard variables to a real OTLP receiver."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.acceptance.conftest import World
from tests.support.amqp import until
from tests.support.examples import SYSTEM, WORKFLOW, fresh_example

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@dataclass
class Receiver:
    """An OTLP/HTTP endpoint: answers 200 to every POST and keeps the spans in it."""

    spans: list[Span] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request after the other (HTTP/1.1)."""
        try:
            while (request := await reader.readline()).startswith(b"POST /v1/traces"):
                headers = await self._headers(reader)
                body = await reader.readexactly(int(headers["content-length"]))
                self._keep(gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
                )
                await writer.drain()
            assert request == b""
        finally:
            writer.close()

    async def _headers(self, reader: asyncio.StreamReader) -> dict[str, str]:
        headers = {}
        while line := (await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return headers

    def _keep(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def named(self, name: str) -> list[Span]:
        """The spans whose name begins so."""
        return [span for span in self.spans if span.name.startswith(name)]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    yield receiver
    server.close()


def exporting(receiver: Receiver) -> dict[str, str]:
    """The standard variables that send spans there, soon."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }


async def test_the_consumer_span_continues_the_events_trace(world: World, receiver: Receiver) -> None:
    """A child of the CMS's span, with children for rendering and for the SMTP transaction."""
    await world.publish({**fresh_example(WORKFLOW), "traceparent": TRACEPARENT})
    worker = await world.worker(**exporting(receiver))
    await until(lambda: len(receiver.named("smtp send")) == 2)
    await worker.stop()
    (process,) = receiver.named("process ")
    assert process.name == f"process {world.prefix}.work.standard"
    assert process.trace_id.hex() == TRACE
    assert process.parent_span_id.hex() == PARENT
    assert process.kind == Span.SPAN_KIND_CONSUMER
    for name, count in (("render workflow/submit", 2), ("smtp send", 2)):
        spans = receiver.named(name)
        assert len(spans) == count
        assert {span.parent_span_id for span in spans} == {process.span_id}
        assert {span.trace_id.hex() for span in spans} == {TRACE}
    attributes = {a.key: a.value for span in receiver.named("smtp send") for a in span.attributes}
    assert attributes["smtp.response.status_code"].int_value == 250
    assert worker.said(trace_id=TRACE, outcome="delivered")


async def test_the_header_beats_the_envelope_and_the_dead_letter_carries_it(
    world: World, receiver: Receiver
) -> None:
    """What was cut off by a setting continues, after a redrive, where the click began."""
    other = f"00-{'a' * 32}-{'b' * 16}-01"
    event = {**fresh_example(SYSTEM), "traceparent": TRACEPARENT}
    await world.publish(event, headers={"traceparent": other})
    worker = await world.worker(EmailSmtpUseOAuth2="true", **exporting(receiver))
    dead = await world.dead("config")
    assert dead.headers["traceparent"] == other
    await worker.stop()
    (process,) = receiver.named("process ")
    assert process.trace_id.hex() == "a" * 32
    assert dead.headers["notify-attempt-traceparent"] == f"00-{'a' * 32}-{process.span_id.hex()}-01"
    assert receiver.named(f"send {world.prefix}.dead")


async def test_nothing_personal_is_in_a_span(world: World, receiver: Receiver) -> None:
    """No address, subject, name or link."""
    await world.publish(fresh_example(WORKFLOW))
    world.smtp.answer("RCPT", "550 5.1.1 <h.okafor@broddu.example> unknown", to="h.okafor@broddu.example")
    worker = await world.worker(**exporting(receiver))
    await world.dead("exhausted")
    await worker.stop()
    everything = "".join(map(str, receiver.spans)) + worker.text
    assert receiver.spans
    for marker in ("broddu.example", "Okafor", "Siân", "Llanfair", "71f73a9b"):
        assert marker not in everything


async def test_without_the_variables_nothing_is_exported(world: World, receiver: Receiver) -> None:
    """And the events' own trace ids are in the log all the same."""
    await world.publish({**fresh_example(SYSTEM), "traceparent": TRACEPARENT})
    worker = await world.worker()
    await worker.until_said(trace_id=TRACE, outcome="delivered", times=2)
    await worker.stop()
    assert receiver.spans == []
