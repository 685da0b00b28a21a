"""Settling at a real broker: what is in which queue afterwards, and with which headers."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from opentelemetry import trace

from contracts import error_texts
from contracts.dead_letter import DeadLetter, Reason
from contracts.events import EVENT
from contracts.topology import Lane, dead_queue, retry_tier, work_queue
from tests.support.amqp import declared, delivery, depth, publish, take
from tests.support.journal import no_journal
from worker.adoption import Runs
from worker.broker import BrokerUnavailableError, Publisher
from worker.copies import Copies
from worker.errors import PermanentError, Scope, TransientError
from worker.outcome import Dead, Delivered, Interrupted, Outcome, Retry
from worker.redact import Redactor
from worker.settle import Settler
from worker.verdict import MailOutcome

SUBMIT = (Path(__file__).parents[2] / "contracts" / "examples" / "workflow-submit.json").read_bytes()
KEY = "workflow.website.contensisEntryApproval.awaitingApproval.submit"
ORIGIN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

SENT = Delivered("250 Ok")
NO_TLS = Dead(PermanentError(Reason.OAUTH2_REQUIRES_TLS))
BUSY = Retry(TransientError(Reason.SMTP_BUSY, "451 4.3.0 busy", scope=Scope.MESSAGE))


@dataclass
class Bench:
    """A settler on a declared topology, and what the tests do with it."""

    channel: AbstractChannel
    prefix: str
    publisher: Publisher
    refusals: int = 0
    published: list[str] = field(default_factory=list)

    async def publish(
        self, exchange: str, key: str, message: aio_pika.Message, *, into: str, patience: float | None
    ) -> None:
        """Publishes, but says so many times first that the broker is away."""
        if self.refusals:
            self.refusals -= 1
            raise BrokerUnavailableError("away")
        self.published.append(exchange)
        await self.publisher.publish(exchange, key, message, into=into, patience=patience)

    async def settle(self, *outcomes: Outcome, lane: Lane = Lane.STANDARD) -> None:
        """Settles the next delivery as if its mails had ended so."""
        settler = Settler(
            publish=self.publish,
            journal=no_journal(),
            runs=Runs(),
            prefix=self.prefix,
            copies=Copies(Redactor(["hunter22"]), "rev123", "test/1/0"),
            give_up_seconds=86_400,
        )
        event = EVENT.validate_json(SUBMIT)
        mails = [MailOutcome(n, f"key{n}", outcome) for n, outcome in enumerate(outcomes)]
        await settler.settle(await delivery(self.channel, self.prefix, lane), event, mails, trace.INVALID_SPAN)

    async def send(self, headers: dict[str, Any] | None = None, **properties: Any) -> None:
        """Publishes the example event."""
        await publish(self.channel, self.prefix, KEY, SUBMIT, headers, **properties)

    async def work_left(self) -> int:
        """Messages ready in the standard lane."""
        return await depth(self.channel, work_queue(Lane.STANDARD, self.prefix))


@pytest.fixture
async def bench(broker_url: str, prefix: str) -> AsyncIterator[Bench]:
    """A bench of its own for each test."""
    publisher = Publisher(broker_url, "test")
    async with declared(broker_url, prefix) as channel:
        yield Bench(channel, prefix, publisher)
    await publisher.close()


async def test_a_delivered_event_is_acked_and_leaves_nothing(bench: Bench) -> None:
    """No copies, no message."""
    await bench.send()
    await bench.settle(SENT, SENT)
    assert bench.published == []
    assert await bench.work_left() == 0


async def test_a_dead_letter_says_why_and_keeps_the_body(bench: Bench) -> None:
    """The documented sentence letter for letter, the setting, the hint; the bytes untouched; the trace kept."""
    await bench.send({"traceparent": ORIGIN, "custom": "kept"}, message_id="m1", app_id="cms")
    await bench.settle(SENT, NO_TLS)
    dead = await take(bench.channel, dead_queue("config", bench.prefix))
    letter = DeadLetter.from_headers(dead.headers)
    assert dead.body == SUBMIT
    assert dead.routing_key == "config.oauth2-requires-tls"
    assert letter.text == error_texts.OAUTH2_REQUIRES_TLS
    assert letter.setting == "EmailSmtpUseSSL,EmailSmtpUseImplicitSSL"
    assert letter.hint.startswith("EmailSmtpUseOAuth2 is true but neither SSL setting is enabled")
    assert (letter.owed, letter.attempts, letter.settings_rev) == ("1", 1, "rev123")
    assert (letter.origin_key, letter.origin_queue) == (KEY, f"{bench.prefix}.work.standard")
    assert (dead.headers["traceparent"], dead.headers["custom"]) == (ORIGIN, "kept")
    assert (dead.message_id, dead.app_id, dead.delivery_mode) == ("m1", "cms", 2)
    assert dead.content_type == "application/cloudevents+json"
    assert json.loads(letter.history)[-1][1:] == ["oauth2-requires-tls", "dead"]
    assert await bench.work_left() == 0


async def test_an_event_without_a_trace_header_carries_the_envelopes(bench: Bench) -> None:
    """The dead letter continues the trace the event began with."""
    await bench.send()
    await bench.settle(NO_TLS)
    dead = await take(bench.channel, dead_queue("config", bench.prefix))
    assert dead.headers["traceparent"] == json.loads(SUBMIT)["traceparent"]


async def test_one_event_of_three_fates_has_one_copy_of_each_kind(bench: Bench) -> None:
    """Delivered, refused, deferred: the tier owes one, the dead letter owes another."""
    await bench.send()
    await bench.settle(SENT, NO_TLS, BUSY)
    dead = await take(bench.channel, dead_queue("config", bench.prefix))
    again = await take(bench.channel, retry_tier("10s", bench.prefix))
    assert (dead.headers["notify-owed"], again.headers["notify-owed"]) == ("1", "2")
    assert again.headers["notify-attempts"] == 1
    assert again.headers["notify-origin-key"] == KEY
    assert again.routing_key == work_queue(Lane.STANDARD, bench.prefix)
    assert json.loads(str(again.headers["notify-history"]))[0][1:] == ["smtp-busy", "10s"]


async def test_a_retry_copy_comes_back_to_its_lane_and_counts_on(bench: Bench) -> None:
    """Through a real tier: attempts, first failure and origin survive, the broker's headers do not."""
    await bench.send()
    await bench.settle(BUSY)
    returned = await delivery(bench.channel, bench.prefix)
    assert "x-death" in returned.headers
    assert (returned.attempts, returned.owed, returned.origin_key) == (1, "0", KEY)
    assert returned.first_failed is not None
    assert datetime.now(UTC) - returned.first_failed < timedelta(minutes=1)
    await returned.give_back()
    await bench.settle(BUSY)
    second = await take(bench.channel, retry_tier("1m", bench.prefix))
    assert second.headers["notify-attempts"] == 2
    assert not [name for name in second.headers if "death" in name or name == "CC"]
    assert len(json.loads(str(second.headers["notify-history"]))) == 2


async def test_an_interrupted_event_goes_back_and_is_not_counted(bench: Bench) -> None:
    """An outage or a stop costs no attempt."""
    await bench.send()
    await bench.settle(Interrupted("drain"))
    assert (await delivery(bench.channel, bench.prefix)).attempts == 0
    assert bench.published == []


async def test_the_original_waits_until_its_copy_is_confirmed(bench: Bench) -> None:
    """A broker that is away for a while loses neither."""
    await bench.send()
    bench.refusals = 1
    await bench.settle(NO_TLS)
    assert (await take(bench.channel, dead_queue("config", bench.prefix))).body == SUBMIT
    assert await bench.work_left() == 0


async def test_headers_that_route_or_belong_to_the_broker_are_not_copied(bench: Bench) -> None:
    """`CC` would multiply the copy; a kept `x-death` would make a tier drop it."""
    await bench.send({"CC": [f"{bench.prefix}.work.urgent"], "x-death": "mine", "x-mine": "kept"})
    await bench.settle(NO_TLS)
    dead = await take(bench.channel, dead_queue("config", bench.prefix))
    assert not {"CC", "x-death"} & set(dead.headers)
    assert dead.headers["x-mine"] == "kept"


async def test_headers_too_large_to_publish_again_lose_the_largest(bench: Bench) -> None:
    """A frame over the broker's limit would close the connection again and again."""
    await bench.send({"huge": "x" * 100_000, "small": "kept"})
    error = PermanentError(Reason.MESSAGE_REFUSED, "y" * 200_000)
    await bench.settle(Dead(error))
    dead = await take(bench.channel, dead_queue("exhausted", bench.prefix))
    assert dead.headers["small"] == "kept"
    assert "huge" not in dead.headers
    assert len(str(dead.headers["notify-detail"])) <= 2048


async def test_no_address_and_no_secret_is_in_a_detail(bench: Bench) -> None:
    """What a server repeats is taken out."""
    await bench.send()
    reply = "550 5.1.1 <d.pritchard@broddu.example> unknown, hunter22"
    await bench.settle(Dead(PermanentError(Reason.RECIPIENT_REFUSED, reply)))
    dead = await take(bench.channel, dead_queue("exhausted", bench.prefix))
    assert dead.headers["notify-detail"] == "550 5.1.1 <address> unknown, <secret>"
