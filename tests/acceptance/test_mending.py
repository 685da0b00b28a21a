"""Fix the setting and the mail sends itself: what died by the settings is sent again under mended ones."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts import error_texts
from tests.acceptance.conftest import Cloud, World
from tests.acceptance.test_journal import ONE_MAIL
from tests.support.amqp import until
from tests.support.examples import fresh_example
from tests.support.worker import Worker

LETTERS: Final = 200
ASKED_FOR: Final = {"NOTIFY_REDRIVE_AFTER_FIX": "true"}
DENIED: Final = "554 5.2.252 SendAsDenied; cms not allowed to send as no-reply"


def written(folder: Path, settings: Mapping[str, str]) -> Path:
    """The settings file, replaced whole."""
    file = folder / "settings.txt"
    new = file.with_suffix(".new")
    new.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    new.rename(file)
    return file


def hang_up(worker: Worker) -> None:
    """SIGHUP, as `systemctl reload` sends it."""
    os.kill(worker.pid, signal.SIGHUP)


async def dead_by_settings(world: World, count: int) -> None:
    """Returns when so many dead letters wait, and nothing else."""
    async with asyncio.timeout(60):
        while await world.dead_letters() != ({"dead.config": count} if count else {}):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.1)


async def test_the_setting_is_mended_and_the_mail_sends_itself(cloud: Cloud) -> None:
    """OAuth2 without TLS kills 200; the file is mended; SIGHUP, a login, three first, the rest; each once."""
    world = cloud.world
    settings = {
        **{name: value for name, value in cloud.settings.items() if name != "SSL_CERT_FILE"},
        "EmailSMTPHost": world.smtp.host,
        "EmailSmtpPort": str(world.smtp.port),
    }
    file = written(world.folder, {**settings, "EmailSmtpUseSSL": "false"})
    worker = world.file_worker(file, **ASKED_FOR, SSL_CERT_FILE=cloud.settings["SSL_CERT_FILE"])
    for _ in range(LETTERS):
        await world.publish(fresh_example(ONE_MAIL))
    await dead_by_settings(world, LETTERS)
    await worker.until_said(outcome="dead", code="oauth2-requires-tls", times=LETTERS)
    assert worker.said(action="warn", code="oauth2-requires-tls")[0]["text"] == error_texts.OAUTH2_REQUIRES_TLS
    written(world.folder, settings)
    hang_up(worker)
    await worker.until_said(action="redrive", level="info", seconds=60)
    await world.smtp.until_accepted(LETTERS, within=60)
    await dead_by_settings(world, 0)
    await world.until_unfinished({})
    (said,) = worker.said(action="redrive", level="info")
    assert (said["code"], said["sent"], said["canary"]) == ("oauth2-requires-tls", LETTERS, "well")
    assert len(world.smtp.accepted) == len({mail["Message-ID"] for mail in world.mails()}) == LETTERS
    assert {accepted.login for accepted in world.smtp.accepted} == {"cms@broddu.example"}


async def test_of_two_workers_that_see_it_one_sends_again(world: World) -> None:
    """Each letter once."""
    to_server = {"EmailSMTPHost": world.smtp.host, "EmailSmtpPort": str(world.smtp.port)}
    file = written(world.folder, {**to_server, "EmailSmtpUseOAuth2": "true"})
    workers = [world.file_worker(file, **ASKED_FOR) for _ in range(2)]
    for _ in range(40):
        await world.publish(fresh_example(ONE_MAIL))
    await dead_by_settings(world, 40)
    written(world.folder, to_server)
    for worker in workers:
        hang_up(worker)
    await dead_by_settings(world, 0)
    await world.smtp.until_accepted(40)
    await world.until_unfinished({})
    assert len(world.smtp.accepted) == len({mail["Message-ID"] for mail in world.mails()}) == 40


async def test_what_is_not_mended_stays_but_for_the_canaries(world: World) -> None:
    """A login that works proves nothing of the sender; and a change of nothing starts nothing."""
    to_server = {"EmailSMTPHost": world.smtp.host, "EmailSmtpPort": str(world.smtp.port)}
    world.smtp.answer("MAIL", DENIED)
    file = written(world.folder, to_server)
    worker = world.file_worker(file, **ASKED_FOR)
    for _ in range(10):
        await world.publish(fresh_example(ONE_MAIL))
    await dead_by_settings(world, 10)
    written(world.folder, {**to_server, "NOTIFY_SMTP_TIMEOUT_SECONDS": "20"})
    await worker.until_said(action="redrive", level="warning", canary="same", sent=3)
    await dead_by_settings(world, 10)
    await worker.until_said(outcome="dead", times=13)
    hang_up(worker)
    await worker.until_said(action="reload", times=2)
    await world.smtp.reached["QUIT"].wait()
    await asyncio.sleep(1)
    assert len(worker.said(outcome="dead")) == 13


async def test_nothing_is_sent_again_unless_it_was_asked_for(world: World) -> None:
    """Nor where the server does not let the settings in."""
    to_server = {"EmailSMTPHost": world.smtp.host, "EmailSmtpPort": str(world.smtp.port)}
    file = written(world.folder, {**to_server, "EmailSmtpUseOAuth2": "true"})
    worker = world.file_worker(file)
    await world.publish(fresh_example(ONE_MAIL))
    await dead_by_settings(world, 1)
    login = {"EmailSmtpUsername": "cms", "EmailSmtpPassword": "wrong", "NOTIFY_DEFAULT_FROM": "a@b.example"}
    written(world.folder, {**to_server, **login, **ASKED_FOR})
    world.smtp.mechanisms, world.smtp.users = ("PLAIN",), {"cms": "right"}
    await worker.until_said(action="redrive", level="warning", code="smtp-authentication-refused")
    written(world.folder, {**to_server, **login, "EmailSmtpPassword": "right"})
    await worker.until_said(action="reload", times=2)
    await until(lambda: len(world.smtp.logins) >= 1)
    await asyncio.sleep(1)
    await dead_by_settings(world, 1)
    assert not world.smtp.accepted
