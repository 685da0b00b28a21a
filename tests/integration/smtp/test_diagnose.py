"""Why connecting fails, found out at real ports that are wrong for real."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
import trustme

from contracts.dead_letter import Reason
from tests.support.ports import closed_port, filtered_port, silent_port
from tests.support.smtp_server import SmtpServer, certified, outdated
from worker.errors import NotifyError, PermanentError, TransientError
from worker.smtp.diagnose import KEPT_SECONDS, Diagnosis
from worker.smtp.opening import open_session, trust
from worker.smtp.plan import Anonymous, ConnectionPlan, Encryption

NONE, STARTTLS, IMPLICIT = Encryption.NONE, Encryption.STARTTLS, Encryption.IMPLICIT
SECONDS: Final = 1.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of these tests."""
    return trustme.CA(organization_name="The tests' authority")


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """The worker's trust, with that authority in it."""
    context = trust()
    authority.configure_trust(context)
    return context


async def _finding(
    server: SmtpServer, encryption: Encryption, tls: ssl.SSLContext, diagnosis: Diagnosis | None = None
) -> NotifyError:
    plan = ConnectionPlan(server.host, server.port, encryption, Anonymous())
    with pytest.raises(NotifyError) as caught:
        await open_session(
            plan,
            timeout=SECONDS,
            tls=tls,
            local_hostname="worker.example.com",
            diagnosis=diagnosis or Diagnosis(seconds=SECONDS),
        )
    return caught.value


async def test_implicit_ssl_against_a_plain_port(tls: ssl.SSLContext) -> None:
    """The guide: EmailSmtpUseImplicitSSL while pointing at another port; this one has no TLS at all."""
    async with SmtpServer() as server:
        error = await _finding(server, IMPLICIT, tls)
    assert (type(error), error.reason) == (PermanentError, Reason.SMTP_PORT_MISMATCH)
    assert error.detail == (
        "the port answered in plain text although EmailSmtpUseImplicitSSL is true: set EmailSmtpPort to the "
        "implicit SSL port, usually 465, or EmailSmtpUseImplicitSSL to false"
    )


async def test_implicit_ssl_against_a_starttls_port(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """The guide: enabling EmailSmtpUseImplicitSSL while still pointing at port 587."""
    async with SmtpServer(tls=certified(authority)) as server:
        error = await _finding(server, IMPLICIT, tls)
    assert (type(error), error.reason) == (PermanentError, Reason.SMTP_PORT_MISMATCH)
    assert "it offers STARTTLS, so set EmailSmtpUseImplicitSSL to false and EmailSmtpUseSSL" in error.detail


@pytest.mark.parametrize("encryption", [NONE, STARTTLS])
async def test_no_implicit_ssl_against_an_implicit_ssl_port(
    encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """The guide: enabling STARTTLS against port 465; such a port says nothing until TLS begins."""
    async with SmtpServer(tls=certified(authority), implicit=True) as server:
        error = await _finding(server, encryption, tls)
    assert (type(error), error.reason) == (PermanentError, Reason.SMTP_PORT_MISMATCH)
    assert "waits for implicit SSL" in error.detail
    assert "set EmailSmtpUseImplicitSSL to true" in error.detail


@pytest.mark.parametrize(
    ("extensions", "words"),
    [
        (("PIPELINING", "8BITMIME"), "it offers PIPELINING, 8BITMIME"),
        ((), "it offers no extensions at all"),
        (("8BITMIME", "XXXXXXXA"), "a firewall that inspects SMTP may have hidden STARTTLS"),
    ],
)
async def test_starttls_that_is_not_offered(
    extensions: tuple[str, ...], words: str, tls: ssl.SSLContext
) -> None:
    """What is offered in its place; some firewalls mask the word."""
    async with SmtpServer(extensions=extensions) as server:
        error = await _finding(server, STARTTLS, tls)
    assert (type(error), error.reason) == (PermanentError, Reason.SMTP_STARTTLS_MISSING)
    assert words in error.detail
    assert server.connections == 1


@pytest.mark.parametrize("encryption", [STARTTLS, IMPLICIT])
async def test_a_server_that_only_knowsoutdated(
    encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """Even one that just hangs up, without the alert that would say why."""
    async with SmtpServer(tls=outdated(authority), implicit=encryption is IMPLICIT) as server:
        error = await _finding(server, encryption, tls)
    assert (type(error), error.reason) == (PermanentError, Reason.SMTP_TLS_VERSION)
    assert "the server speaks TLS 1.1 at most" in error.detail


@pytest.mark.parametrize("encryption", [STARTTLS, IMPLICIT])
async def test_a_certificate_for_another_name(
    encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """The administrator reads which name would have been right."""
    strange = certified(authority, "mail.example.com")
    async with SmtpServer(tls=strange, implicit=encryption is IMPLICIT) as server:
        error = await _finding(server, encryption, tls)
    assert (type(error), error.reason) == (PermanentError, Reason.SMTP_CERTIFICATE)
    assert "it is for mail.example.com, issued by The tests' authority, valid until" in error.detail
    assert "set EmailSMTPHost to a name that the certificate is for" in error.detail


@pytest.mark.parametrize("encryption", [STARTTLS, IMPLICIT])
async def test_a_certificate_by_an_unknown_authority(encryption: Encryption, tls: ssl.SSLContext) -> None:
    """As with an internal authority."""
    strange = certified(trustme.CA(organization_name="Somebody"))
    async with SmtpServer(tls=strange, implicit=encryption is IMPLICIT) as server:
        error = await _finding(server, encryption, tls)
    assert (type(error), error.reason) == (PermanentError, Reason.SMTP_CERTIFICATE)
    assert "issued by Somebody" in error.detail
    assert "set NOTIFY_SMTP_CA_FILE" in error.detail


async def test_a_certificate_that_has_expired(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """With its last day, though nothing trusts it any more."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    async with SmtpServer(tls=context, implicit=True) as server:
        error = await _finding(server, IMPLICIT, tls)
    assert error.reason is Reason.SMTP_CERTIFICATE
    assert f"valid until {yesterday:%Y-%m-%d}: it has to be renewed" in error.detail


@pytest.mark.parametrize("encryption", Encryption)
async def test_a_closed_port(encryption: Encryption, tls: ssl.SSLContext) -> None:
    """Plainly refused: there is nothing to look at."""
    error = await _finding(SmtpServer(port=closed_port()), encryption, tls)
    assert (type(error), error.reason) == (TransientError, Reason.SMTP_UNREACHABLE)
    assert error.detail.startswith("connect: the connection was refused: nothing listens at EmailSmtpPort")


async def test_a_name_with_several_addresses_that_all_refuse(tls: ssl.SSLContext) -> None:
    """The event loop makes one text of several failures; what they have in common is still told."""
    error = await _finding(SmtpServer(host="localhost", port=closed_port()), NONE, tls)
    assert error.detail.startswith("connect: the connection was refused")


@pytest.mark.parametrize(
    ("port", "words"),
    [
        (filtered_port, "connect: no answer in time: a firewall may be blocking EmailSmtpPort"),
        (silent_port, "greeting: no answer in time"),
    ],
)
async def test_a_port_that_never_answers(
    port: Callable[[], AbstractContextManager[int]], words: str, tls: ssl.SSLContext
) -> None:
    """A firewall that drops packets, and a server that takes the connection, are told apart."""
    with port() as number:
        error = await _finding(SmtpServer(port=number), NONE, tls)
    assert (type(error), error.reason) == (TransientError, Reason.SMTP_UNREACHABLE)
    assert error.detail == words


async def test_a_name_that_is_not_found(tls: ssl.SSLContext) -> None:
    """Told as a matter of EmailSMTPHost."""
    error = await _finding(SmtpServer(host="no-such-host.invalid", port=25), NONE, tls)
    assert (type(error), error.reason) == (TransientError, Reason.SMTP_UNREACHABLE)
    assert error.detail.startswith("connect: the host name could not be resolved")
    assert error.detail.endswith("check EmailSMTPHost")


def _counting_looks(authority: trustme.CA) -> tuple[ssl.SSLContext, list[None]]:
    """A server's TLS, and a list that grows with every handshake that a client begins."""
    looks: list[None] = []
    context = certified(authority)
    context.sni_callback = lambda *_: looks.append(None)
    return context, looks


async def test_fifty_failures_at_a_time_cost_the_server_one_look(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """And all fifty know what was seen."""
    diagnosis = Diagnosis(seconds=SECONDS)
    context, looks = _counting_looks(authority)
    async with SmtpServer(tls=context, implicit=True) as server:
        errors = await asyncio.gather(*(_finding(server, STARTTLS, tls, diagnosis) for _ in range(50)))
        await _finding(server, STARTTLS, tls, diagnosis)
    assert {error.reason for error in errors} == {Reason.SMTP_PORT_MISMATCH}
    assert len({id(error) for error in errors}) == 50
    assert len(looks) == 1


async def test_a_finding_is_not_kept_for_ever(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """What was mended is seen within seconds."""
    times = iter([0.0, 0.0, KEPT_SECONDS - 1, KEPT_SECONDS, KEPT_SECONDS])
    diagnosis = Diagnosis(seconds=SECONDS, clock=lambda: next(times))
    context, looks = _counting_looks(authority)
    async with SmtpServer(tls=context, implicit=True) as server:
        for expected in (1, 1, 2):
            await _finding(server, STARTTLS, tls, diagnosis)
            assert len(looks) == expected
    assert next(times, None) is None
