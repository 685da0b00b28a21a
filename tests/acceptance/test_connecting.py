"""Settings that cannot connect, with the worker as a process: a dead letter in the guide's words at once."""

from pathlib import Path

import pytest
import trustme

from contracts import error_texts
from contracts.dead_letter import DeadLetter, Reason
from tests.acceptance.conftest import World
from tests.support.examples import SYSTEM, fresh_example
from tests.support.smtp_server import certified, outdated

EVENTS = 50


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    """A certificate authority, and the file that makes it trusted."""
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return authority, file


@pytest.fixture
async def encrypted(world: World, authority: tuple[trustme.CA, Path]) -> World:
    """A world whose SMTP server has a certificate."""
    await world.smtp.stop()
    world.smtp.tls = certified(authority[0])
    return world


async def dead_letter_of(world: World, settings: dict[str, str]) -> DeadLetter:
    """What becomes of fifty events under `settings` that never worked; the server is asked a few times only."""
    await world.smtp.start()
    for _ in range(EVENTS):
        await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**settings)
    letter = DeadLetter.from_headers((await world.dead("config")).headers)
    await worker.until_said(outcome="dead", code=letter.code, times=2 * EVENTS)
    assert world.smtp.connections <= 8
    assert world.smtp.accepted == []
    assert not worker.said(action="pause")
    return letter


async def test_implicit_ssl_at_a_port_that_speaks_plainly(encrypted: World) -> None:
    """The most common cause of connection failures is a mismatch, says the guide."""
    letter = await dead_letter_of(encrypted, {"EmailSmtpUseImplicitSSL": "true"})
    assert (letter.code, letter.text) == (Reason.SMTP_PORT_MISMATCH, error_texts.CONNECTION_FAILS)
    assert "EmailSmtpUseImplicitSSL" in letter.setting


async def test_starttls_at_a_port_of_implicit_ssl(encrypted: World) -> None:
    """Such as STARTTLS against port 465: nobody greets."""
    encrypted.smtp.implicit = True
    settings = {"EmailSmtpUseSSL": "true", "NOTIFY_SMTP_TIMEOUT_SECONDS": "3"}
    letter = await dead_letter_of(encrypted, settings)
    assert (letter.code, letter.text) == (Reason.SMTP_PORT_MISMATCH, error_texts.CONNECTION_FAILS)


async def test_a_server_of_old_tls_only(encrypted: World, authority: tuple[trustme.CA, Path]) -> None:
    """The server needs to be updated: TLS 1.2 or later."""
    encrypted.smtp.tls, encrypted.smtp.implicit = outdated(authority[0]), True
    settings = {"EmailSmtpUseImplicitSSL": "true", "NOTIFY_SMTP_CA_FILE": str(authority[1])}
    letter = await dead_letter_of(encrypted, settings)
    assert (letter.code, letter.text) == (Reason.SMTP_TLS_VERSION, error_texts.CONNECTION_FAILS)


async def test_a_certificate_of_an_unknown_authority(encrypted: World) -> None:
    """Nothing switches verification off; the setting that trusts an internal authority is named."""
    encrypted.smtp.implicit = True
    letter = await dead_letter_of(encrypted, {"EmailSmtpUseImplicitSSL": "true"})
    assert letter.code == Reason.SMTP_CERTIFICATE
    assert "NOTIFY_SMTP_CA_FILE" in letter.setting


async def test_a_certificate_of_another_name(encrypted: World, authority: tuple[trustme.CA, Path]) -> None:
    """The name in EmailSMTPHost has to be the certificate's."""
    encrypted.smtp.tls, encrypted.smtp.implicit = certified(authority[0], "mail.example.com"), True
    settings = {"EmailSmtpUseImplicitSSL": "true", "NOTIFY_SMTP_CA_FILE": str(authority[1])}
    letter = await dead_letter_of(encrypted, settings)
    assert letter.code == Reason.SMTP_CERTIFICATE
    assert "EmailSMTPHost" in letter.setting


async def test_starttls_that_is_not_offered(world: World) -> None:
    """Never on in plain text instead."""
    await world.smtp.stop()
    letter = await dead_letter_of(world, {"EmailSmtpUseSSL": "true"})
    assert letter.code == Reason.SMTP_STARTTLS_MISSING
