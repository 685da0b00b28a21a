"""What acceptance tests share: a real broker, a scripted SMTP server, and the worker as a process."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from contracts.events import EVENT
from contracts.topology import DEAD_QUEUES, RETRY_TIERS, Lane, dead_queue, retry_tier, work_queue
from tests.support.amqp import declared, depth, publish, take
from tests.support.smtp_server import SmtpServer, certified
from tests.support.token_server import TokenServer
from tests.support.worker import Worker

SECRET = "~s3cr3t&=+% ÿ/" + "x" * 20
MAILBOX = "cms@broddu.example"


@dataclass
class World:
    """Everything around one worker, with names and ports of its own."""

    url: str
    prefix: str
    folder: Path
    smtp: SmtpServer
    channel: AbstractChannel
    workers: list[Worker] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """The settings that make a worker send through our server."""
        return {
            "NOTIFY_BROKER_URL": self.url,
            "NOTIFY_PREFIX": self.prefix,
            "EmailSMTPHost": self.smtp.host,
            "EmailSmtpPort": str(self.smtp.port),
            "NOTIFY_HEALTH_ADDRESS": "",
        }

    async def worker(self, **settings: str) -> Worker:
        """A worker with `settings` over ours; waited for until it consumes."""
        worker = self.starting_worker(**settings)
        await worker.until_said(action="ready")
        return worker

    def starting_worker(self, **settings: str) -> Worker:
        """A worker that may never come to consume."""
        worker = Worker(self.folder, **{**self.settings, **settings})
        self.workers.append(worker)
        return worker

    def file_worker(self, file: Path, **settings: str) -> Worker:
        """A worker that finds its mail server in a settings file, which may change."""
        of_server = {"EmailSMTPHost", "EmailSmtpPort"}
        others = {name: value for name, value in self.settings.items() if name not in of_server}
        worker = Worker(self.folder, **others, **settings, NOTIFY_SETTINGS_FILE=str(file))
        self.workers.append(worker)
        return worker

    def workers_said(self, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of all workers that have these fields."""
        return [line for worker in self.workers for line in worker.said(**fields)]

    async def publish(self, event: dict[str, Any], key: str = "", **options: Any) -> None:
        """Publishes `event` in structured mode, by default with its own routing key."""
        key = key or EVENT.validate_python(event).routing_key()
        await publish(self.channel, self.prefix, key, json.dumps(event).encode(), **options)

    async def dead(self, name: str) -> AbstractIncomingMessage:
        """The next dead letter of a dead queue, taken out of it."""
        message = await take(self.channel, dead_queue(name, self.prefix))
        await message.ack()
        return message

    async def dead_letters(self) -> dict[str, int]:
        """How many messages are in each dead queue that has any."""
        return await self._depths(dead_queue(name, self.prefix) for name in (*DEAD_QUEUES, "unroutable"))

    async def unfinished(self) -> dict[str, int]:
        """How many messages are in each work queue and tier that has any."""
        lanes = (work_queue(lane, self.prefix) for lane in Lane)
        return await self._depths([*lanes, *(retry_tier(tier, self.prefix) for tier in RETRY_TIERS)])

    async def _depths(self, queues: Iterable[str]) -> dict[str, int]:
        depths = {queue: await depth(self.channel, queue) for queue in queues}
        return {queue.removeprefix(f"{self.prefix}."): count for queue, count in depths.items() if count}

    async def until_unfinished(self, expected: dict[str, int]) -> None:
        """Returns when just so many messages wait in the work queues and tiers."""
        async with asyncio.timeout(30):
            while await self.unfinished() != expected:  # noqa: ASYNC110 - a queue has no event
                await asyncio.sleep(0.1)

    def mails(self) -> list[EmailMessage]:
        """What the SMTP server accepted, parsed."""
        return [message_from_bytes(mail.content, policy=policy.default) for mail in self.smtp.accepted]

    def recipients(self) -> list[str]:
        """To whom the accepted mails went, sorted."""
        return sorted(recipient for mail in self.smtp.accepted for recipient in mail.recipients)


@pytest.fixture
async def world(broker_url: str, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    """A world of its own for each test; its workers end with it."""
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(declared(broker_url, prefix))
        smtp = await stack.enter_async_context(SmtpServer())
        here = World(broker_url, prefix, tmp_path, smtp, channel)
        yield here
        for worker in here.workers:
            worker.kill()


@dataclass
class Cloud:
    """A token endpoint and an SMTP server that takes its tokens over STARTTLS, under one authority."""

    world: World
    tokens: TokenServer
    authority: Path

    @property
    def settings(self) -> dict[str, str]:
        """Microsoft's mode, against our own endpoint."""
        return {
            "EmailSmtpUseSSL": "true",
            "EmailSmtpUseOAuth2": "true",
            "EmailSmtpOAuth2AzureTenantId": "broddu-tenant",
            "EmailSmtpOAuth2ClientId": "app",
            "EmailSmtpOAuth2ClientSecret": SECRET,
            "EmailSmtpUsername": MAILBOX,
            "NOTIFY_ENTRA_AUTHORITY": self.tokens.url(""),
            "NOTIFY_SMTP_CA_FILE": str(self.authority),
            "SSL_CERT_FILE": str(self.authority),
        }

    def trust(self, *tokens: str, mailbox: str = MAILBOX) -> None:
        """The SMTP server takes exactly the last of these tokens."""
        self.world.smtp.tokens = {mailbox: tokens[-1]}


@pytest.fixture
async def cloud(world: World, tmp_path: Path) -> AsyncIterator[Cloud]:
    """Microsoft 365 in small."""
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    await world.smtp.stop()
    world.smtp.tls, world.smtp.mechanisms = certified(authority), ("XOAUTH2",)
    world.smtp.login_required = True
    await world.smtp.start()
    async with TokenServer(certified(authority), clients={"app": SECRET}) as tokens:
        cloud = Cloud(world, tokens, file)
        cloud.trust("token-1")
        yield cloud
