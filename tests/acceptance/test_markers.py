"""No secret, token, reset link or address is in anything that a full run produces, in whatever form.

Markers are planted in passwords, the client's secret, its token, addresses, names, subjects, answers and links.
Mails are delivered, retried, refused and dead, and servers repeat what they were told. What came of it is
searched: log, spans, metrics, headers of copies, the journal, and the output of the commands. Bodies of dead
letters and the mails themselves are left out, since they hold what they were made of.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aio_pika
import pytest
import trustme
from aio_pika.abc import AbstractIncomingMessage

from contracts.topology import DEAD_QUEUES, RETRY_TIERS, dead_queue, journal_stream, retry_tier
from deploy.local.rabbitmq import PrivateRabbitMQ
from tests.acceptance.conftest import World
from tests.support.amqp import publish, take_all
from tests.support.examples import FORM, PASSWORD_RESET, SYSTEM, WORKFLOW, changed, fresh_example
from tests.support.markers import disguised, found
from tests.support.otlp import Receiver, receiving
from tests.support.probing import Asked
from tests.support.smtp_server import certified
from tests.support.token_server import TokenServer
from tests.support.worker import Worker, command

MARKERS: Final = {
    "broker password": "Br0ker-Mark~Qv7",
    "SMTP password": "Sm7p/Mark+é&=?x",
    "client secret": "Cl1ent~Mark.Secret/+=Zz",
    "token": "T0ken.Mark-eyJ0eXAi.aaa_bbb",
    "reset token": "R3set-Mark-Tok/en+99",
    "reset link": "account/reset/password?token=",
    "delivered address": "delivered.mark1@broddu.example",
    "retried address": "retried.mark2@broddu.example",
    "refused address": "Refused.Mark3@broddu.example",
    "invalid address": "invalid mark4 at broddu",
    "name": "Gwenllïan Markwraig",
    "subject": "Pwnc-Mark Cyfrinachol",
    "answer": "Ateb-Mark cyfrinachol & phreifat",
    "body of no event": "N0-Event-Mark-Body",
}
MAILBOX: Final = "cms@contensis.example"
COMMANDS: Final = (
    "settings",
    "check",
    "topology check",
    "health",
    "dead",
    "dead list",
    "dead explain recipient-refused",
    "doctor",
)


@pytest.fixture
def url(broker_node: PrivateRabbitMQ) -> str:
    """The broker, for a user with a marker for a password."""
    name, password = "marked", MARKERS["broker password"]
    if name not in broker_node.ctl("list_users"):
        broker_node.ctl("add_user", name, password)
        broker_node.ctl("set_permissions", name, ".*", ".*", ".*")
    return broker_node.url.replace("guest:guest", f"{name}:{password}")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Where spans and metrics go."""
    async with receiving() as receiver:
        yield receiver


def events() -> list[dict[str, Any]]:
    """Every family, with markers in all that is personal."""
    link = f"https://cms-broddu.cloud.contensis.com/{MARKERS['reset link']}{MARKERS['reset token']}"
    reset = changed(fresh_example(PASSWORD_RESET), "data.user.email", MARKERS["delivered address"])
    reset = changed(changed(reset, "data.reset.url", link), "data.user.firstName", MARKERS["name"])
    workflow = changed(fresh_example(WORKFLOW), "data.recipients.1.email", MARKERS["retried address"])
    form = changed(fresh_example(FORM), "data.response.enquiry", MARKERS["answer"])
    form = changed(form, "data.response.name", MARKERS["name"])
    system = changed(fresh_example(SYSTEM), "data.recipients.0.email", MARKERS["refused address"])
    system = changed(system, "data.recipients.0.firstName", MARKERS["name"])
    system = changed(system, "data.message.title", {"en-GB": MARKERS["subject"], "cy": MARKERS["subject"]})
    invalid = changed(fresh_example(SYSTEM), "data.recipients.0.email", MARKERS["invalid address"])
    broken = changed(reset, "data.reset.expires", MARKERS["answer"])
    return [reset, workflow, form, system, invalid, broken]


async def test_no_marker_is_in_anything_that_a_full_run_produces(
    world: World, url: str, receiver: Receiver, tmp_path: Path
) -> None:
    """Plain, in base64 at every alignment, quoted-printable, percent-encoded or hashed."""
    authority, asked = trustme.CA(), Asked.somewhere()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    common = {
        **world.settings,
        **receiver.variables,
        **asked.variables,
        "NOTIFY_BROKER_URL": url,
        "EmailSmtpUseSSL": "true",
        "EmailSmtpUsername": MAILBOX,
        "NOTIFY_SMTP_CA_FILE": str(tmp_path / "authority.pem"),
        "SSL_CERT_FILE": str(tmp_path / "authority.pem"),
    }
    async with TokenServer(certified(authority), clients={"app": MARKERS["client secret"]}) as tokens:
        await _prepare(world, authority, tokens)
        oauth2 = {
            **common,
            "EmailSmtpUseOAuth2": "true",
            "EmailSmtpOAuth2AzureTenantId": "tenant",
            "EmailSmtpOAuth2ClientId": "app",
            "EmailSmtpOAuth2ClientSecret": MARKERS["client secret"],
            "NOTIFY_ENTRA_AUTHORITY": tokens.url(""),
        }
        produced = await _first_life(world, oauth2, asked)
    basic = {**common, "EmailSmtpPassword": MARKERS["SMTP password"]}
    produced |= await _second_life(world, basic, asked)
    produced |= await _left_at_the_broker(world)
    produced["spans and metrics"] = b"\n".join(receiver.received)
    assert receiver.spans
    assert receiver.metrics
    assert found(MARKERS, produced) == []
    assert found(MARKERS, {"forms": disguised(MARKERS.values())})


async def _prepare(world: World, authority: trustme.CA, tokens: TokenServer) -> None:
    """Servers that know the markers, and repeat what they are told."""
    await world.smtp.stop()
    world.smtp.tls, world.smtp.mechanisms = certified(authority), ("XOAUTH2", "PLAIN")
    world.smtp.login_required = True
    world.smtp.tokens = {MAILBOX: MARKERS["token"]}
    await world.smtp.start()
    retried, refused = MARKERS["retried address"], MARKERS["refused address"]
    world.smtp.answer("RCPT", f"450 4.2.1 <{retried}> {retried}: try again later", to=retried)
    world.smtp.answer("RCPT", f"550 5.1.1 <{refused}>... no {refused} here", to=refused)
    token = {"access_token": MARKERS["token"], "expires_in": 3600, "token_type": "Bearer"}
    error = {"error": "temporarily_unavailable", "error_description": f"app {MARKERS['client secret']}"}
    tokens.answer(503, error, times=1)
    tokens.answer(200, token)


async def _first_life(world: World, settings: dict[str, str], asked: Asked) -> dict[str, bytes]:
    """OAuth2: delivered, retried, refused, poison and duplicate."""
    worker = await _started(world, settings)
    for event in events():
        await _publish(world, event)
    await publish(world.channel, world.prefix, "system.x", f'{{"{MARKERS["body of no event"]}'.encode())
    await worker.until_said(outcome="retry")
    await worker.until_said(outcome="dead", code="recipient-refused")
    await worker.until_said(outcome="dead", code="invalid-data")
    await worker.until_said(outcome="dead", code="envelope")
    await worker.until_said(outcome="delivered", times=3)
    pages = {path: (await asked.get(path))[1].encode() for path in ("/livez", "/readyz", "/metrics")}
    told = await _commands(settings)
    await worker.stop()
    assert MARKERS["delivered address"] in world.recipients()
    return {"the first log": worker.text.encode(), **pages, **told}


async def _second_life(world: World, settings: dict[str, str], asked: Asked) -> dict[str, bytes]:
    """A password that is refused, by a server that repeats it."""
    password = MARKERS["SMTP password"]
    plain = base64.b64encode(f"\0{MAILBOX}\0{password}".encode()).decode()
    world.smtp.answer("AUTH", f"535 5.7.8 {password} is wrong, and so is {plain}")
    await _publish(world, fresh_example(SYSTEM))
    worker = await _started(world, settings)
    await worker.until_said(outcome="dead", code="smtp-authentication-refused")
    page = (await asked.get("/metrics"))[1].encode()
    told = await _commands(settings)
    await worker.stop()
    return {"the second log": worker.text.encode(), "the second page of metrics": page, **told}


async def _started(world: World, settings: dict[str, str]) -> Worker:
    worker = world.starting_worker(**settings)
    await worker.until_said(action="ready")
    return worker


async def _publish(world: World, event: dict[str, Any]) -> None:
    families = {"entry": "workflow.x", "formResponse": "form.x", "user": "password-reset.x"}
    key = families.get(event["type"].split(".")[2], "system.x")
    await publish(world.channel, world.prefix, key, json.dumps(event).encode())


async def _commands(settings: dict[str, str]) -> dict[str, bytes]:
    """What those of the commands say that there are."""
    _, known, _ = await command(["--help"], settings)
    told = {}
    for text in COMMANDS:
        words = text.split()
        if re.search(rf"\b{words[0]}\b", known):
            for more in ([], ["--json"]):
                if (text, more) != ("health", ["--json"]):
                    _, out, err = await command([*words, *more], settings)
                    told[" ".join((*words, *more))] = (out + err).encode()
    return told


async def _left_at_the_broker(world: World) -> dict[str, bytes]:
    """Headers of dead letters and retry copies; the journal, headers and records."""
    queues = [
        *(dead_queue(name, world.prefix) for name in DEAD_QUEUES),
        *(retry_tier(tier, world.prefix) for tier in RETRY_TIERS),
    ]
    left = {name: await take_all(world.channel, name) for name in queues}
    dead = sum(len(left[dead_queue(name, world.prefix)]) for name in DEAD_QUEUES)
    assert dead >= 4
    journal = await _journal(world)
    assert journal
    heads = {name: b"\n".join(map(_head, messages)) for name, messages in left.items()}
    return {**heads, "journal": b"\n".join(_head(it) + b"\n" + it.body for it in journal)}


def _head(message: AbstractIncomingMessage) -> bytes:
    """All headers and properties."""
    properties = {name: getattr(message, name) for name in ("message_id", "type", "app_id", "correlation_id")}
    return json.dumps({**message.headers, **properties}, default=str, ensure_ascii=False).encode()


async def _journal(world: World) -> list[AbstractIncomingMessage]:
    """All messages of the stream."""
    read: list[AbstractIncomingMessage] = []
    async with await aio_pika.connect(world.url) as connection, connection.channel() as channel:
        await channel.set_qos(prefetch_count=100)
        stream = await channel.get_queue(journal_stream(world.prefix), ensure=False)

        async def keep(message: AbstractIncomingMessage) -> None:
            read.append(message)
            await message.ack()

        await stream.consume(keep, arguments={"x-stream-offset": "first"})
        async with asyncio.timeout(20):
            while not any(b"smtp-authentication-refused" in it.body for it in read):  # noqa: ASYNC110 - a stream
                await asyncio.sleep(0.05)
    return read
