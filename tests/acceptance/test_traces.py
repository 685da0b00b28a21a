"""One trace from the CMS to the server's 250, exported by the standard variables to a real OTLP receiver."""

from collections.abc import AsyncIterator

import aio_pika
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.acceptance.conftest import World
from tests.support.amqp import until
from tests.support.examples import SYSTEM, WORKFLOW, fresh_example
from tests.support.otlp import Receiver, receiving
from worker.retry import BLIP_TRIES

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    async with receiving() as receiver:
        yield receiver


async def test_the_consumer_span_continues_the_events_trace(world: World, receiver: Receiver) -> None:
    """A child of the CMS's span, with children for rendering and for the SMTP transaction."""
    await world.publish({**fresh_example(WORKFLOW), "traceparent": TRACEPARENT})
    worker = await world.worker(**receiver.variables)
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
    worker = await world.worker(EmailSmtpUseOAuth2="true", **receiver.variables)
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
    worker = await world.worker(**receiver.variables)
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


async def test_one_trace_from_the_click_through_retry_death_and_redrive_to_the_servers_yes(
    world: World, receiver: Receiver
) -> None:
    """Each attempt is a child of the CMS's span and links to the attempt before it."""
    event = {**fresh_example(SYSTEM), "traceparent": TRACEPARENT, "tracestate": "cms=7"}
    event["data"]["recipients"] = event["data"]["recipients"][:1]
    world.smtp.answer("RCPT", "450 4.2.1 try again later", times=BLIP_TRIES)
    world.smtp.answer("RCPT", "550 5.1.1 unknown", times=1)
    worker = await world.worker(**receiver.variables)
    await world.publish(event)
    dead = await world.dead("exhausted")
    await world.channel.default_exchange.publish(
        aio_pika.Message(dead.body, headers=dead.headers, content_type=dead.content_type),
        str(dead.headers["notify-origin-queue"]),
    )
    await worker.until_said(outcome="delivered")
    await worker.stop()
    attempts = receiver.named("process ")
    assert len(attempts) == 3
    assert {span.trace_id.hex() for span in receiver.spans} == {TRACE}
    assert {span.trace_state for span in attempts} == {"cms=7"}
    assert [span.parent_span_id.hex() for span in attempts] == [PARENT] * 3
    linked = [[link.span_id.hex() for link in span.links] for span in attempts]
    assert linked == [[PARENT], [attempts[0].span_id.hex()], [attempts[1].span_id.hex()]]
    replies = [number(span, "smtp.response.status_code") for span in receiver.named("smtp send")]
    assert replies == [*[450] * BLIP_TRIES, 550, 250]
    assert [span.name for span in receiver.named("send ")] == [
        f"send {world.prefix}.retry.10s",
        f"send {world.prefix}.dead",
    ]


async def test_what_the_publisher_did_not_sample_is_not_exported_and_stays_so(
    world: World, receiver: Receiver
) -> None:
    """Parent-based sampling, which is the default; other events are exported all the same."""
    unsampled = f"00-{'c' * 32}-{'d' * 16}-00"
    world.smtp.answer("RCPT", "550 5.1.1 unknown")
    await world.publish({**fresh_example(SYSTEM), "traceparent": unsampled})
    worker = await world.worker(**receiver.variables)
    dead = await world.dead("exhausted")
    assert dead.headers["traceparent"] == unsampled
    assert "notify-attempt-traceparent" not in dead.headers
    assert worker.said(trace_id="c" * 32, outcome="dead")
    await world.publish({**fresh_example(SYSTEM), "traceparent": TRACEPARENT})
    await until(lambda: bool(receiver.named("process ")))
    await worker.stop()
    assert {span.trace_id.hex() for span in receiver.spans} >= {TRACE}
    assert "c" * 32 not in {span.trace_id.hex() for span in receiver.spans}


async def test_the_standard_sampler_decides_about_events_without_a_trace(
    world: World, receiver: Receiver
) -> None:
    """And the decision is kept by the copies, so that no trace is exported in part."""
    world.smtp.answer("RCPT", "550 5.1.1 unknown")
    await world.publish({key: it for key, it in fresh_example(SYSTEM).items() if key != "traceparent"})
    worker = await world.worker(OTEL_TRACES_SAMPLER="parentbased_always_off", **receiver.variables)
    dead = await world.dead("exhausted")
    await worker.stop()
    assert receiver.named("process ") == []
    assert int(str(dead.headers["traceparent"])[-2:], 16) & 1 == 0


def number(span: Span, name: str) -> int:
    """The value of an attribute that is a number."""
    return next(int(it.value.int_value) for it in span.attributes if it.key == name)
