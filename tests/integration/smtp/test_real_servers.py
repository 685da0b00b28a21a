"""Sessions with Postfix, Dovecot and an OAuth2 server: the guide's settings against what companies run."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import pytest

from contracts import error_texts
from contracts.dead_letter import ABOUT, Reason
from tests.support.amqp import until
from tests.support.postfix import Stored
from tests.support.real_servers import (
    BASIC,
    DOCUMENTED,
    MAILBOX,
    OTHER_MAILBOX,
    SECRET,
    USER,
    WAYS,
    RealServers,
)
from worker.errors import NotifyError, PermanentError, Scope, TransientError
from worker.settings import load
from worker.smtp.oauth2 import Token, TokenSource
from worker.smtp.opening import open_session, trust
from worker.smtp.plan import OAuth2, plan
from worker.smtp.session import Session, StaleSessionError

SECONDS: Final = 3.0
MESSAGE: Final = "\r\n".join(
    [
        "From: Contensis <no-reply@contensis.com>",
        "To: Ann <ann@example.org>",
        "Date: Tue, 24 Nov 2026 09:00:05 +0000",
        "Message-ID: <one@contensis.com>",
        "Subject: Hello",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        ".dot first",
        "..two dots",
        ".",
        "Llŷr a’r Ŵyl \U0001f4ec",
        "From the start of a line",
        "x" * 998,
        "",
        "last line",
        "",
    ]
).encode()


@pytest.fixture(autouse=True)
async def everybody_leaves(running_servers: RealServers) -> AsyncIterator[None]:
    """A test ends when its sessions have ended, also those that asyncio ends in its own time."""
    yield
    await until(running_servers.postfix.everybody_left)


def token_source(settings: Mapping[str, str]) -> TokenSource:
    """Asks the token endpoint, and remembers what it said."""
    return TokenSource(ssl.create_default_context(cafile=settings["SSL_CERT_FILE"]))


@asynccontextmanager
async def session_of(
    settings: Mapping[str, str], sender: str = MAILBOX, tokens: TokenSource | None = None
) -> AsyncIterator[Session]:
    """A session as `settings` say, opened as the worker does. Raises NotifyError."""
    parsed = load(settings)
    connection = plan(parsed.smtp, sender, entra_authority=parsed.worker.entra_authority)
    tokens = tokens or token_source(settings)

    async def token() -> Token:
        assert isinstance(connection.authentication, OAuth2)
        return await tokens.token(connection.authentication)

    session = await open_session(
        connection,
        timeout=SECONDS,
        tls=trust(parsed.worker.smtp_ca_file),
        token=token,
        local_hostname="worker.example",
    )
    try:
        yield session
    finally:
        await session.close()


async def error_of(
    settings: Mapping[str, str], sender: str = MAILBOX, tokens: TokenSource | None = None
) -> NotifyError:
    """What opening a session raises."""
    with pytest.raises(NotifyError) as caught:
        async with session_of(settings, sender, tokens):
            pass
    return caught.value


async def send(
    session: Session, recipient: str, sender: str = MAILBOX, ending: Callable[[], None] | None = None
) -> None:
    """Sends `MESSAGE`."""
    await session.send(sender, recipient, MESSAGE, smtputf8=False, ending=ending)


async def sent(settings: Mapping[str, str], real: RealServers, sender: str = MAILBOX) -> Stored:
    """The mail that Postfix stored after `MESSAGE` was sent as `settings` say."""
    async with session_of(settings, sender) as session:
        await send(session, "ann@example.org", sender)
    await until(lambda: real.postfix.stored == 1)
    (mail,) = real.postfix.mails()
    return mail


@pytest.mark.parametrize(("encryption", "way"), DOCUMENTED)
async def test_every_documented_way_to_send_delivers(encryption: str, way: str, real: RealServers) -> None:
    """How to connect and how to authenticate are independent; the mail arrives byte for byte."""
    settings = real.settings(encryption, way)
    async with session_of(settings) as session:
        await send(session, "ann@example.org")
    await until(lambda: real.postfix.stored == 1)
    (mail,) = real.postfix.mails()
    assert mail.content == MESSAGE
    assert (mail.sender, mail.recipient) == (MAILBOX, "ann@example.org")
    assert (mail.login, session.server.mechanism) == (WAYS[way].login, WAYS[way].mechanism)
    assert mail.tls_version == session.server.tls_version == ("" if encryption == "none" else "TLSv1.3")


@pytest.mark.parametrize("way", ["XOAUTH2 Entra", "XOAUTH2 generic"])
async def test_oauth2_without_encryption_is_refused_before_anybody_is_asked(
    way: str, real: RealServers
) -> None:
    """In the guide's words; neither a token nor a connection is spent on it."""
    error = await error_of(real.settings("none", way))
    assert (error.reason, str(error)) == (Reason.OAUTH2_REQUIRES_TLS, error_texts.OAUTH2_REQUIRES_TLS)
    assert real.identity.control()["requests"] == 0
    assert real.postfix.connections() == 0


@pytest.mark.parametrize(
    ("listener", "host"),
    [("name", "localhost"), ("ipv4", "127.0.0.1"), ("ipv6", "::1"), ("ipv6", "[::1]")],
)
async def test_the_host_may_be_a_name_or_an_address(listener: str, host: str, real: RealServers) -> None:
    """With a certificate for just that; IPv6 with the brackets that people write, or without."""
    assert (await sent(real.connection(listener, host), real)).content == MESSAGE


async def test_oauthbearer_is_used_where_only_that_is_offered(real: RealServers) -> None:
    """RFC 7628, which some servers have instead of XOAUTH2."""
    mail = await sent({**real.connection("starttls-oauthbearer"), **real.generic}, real)
    assert (mail.login, mail.content) == (MAILBOX, MESSAGE)


async def test_each_from_logs_in_as_itself_where_no_user_name_is_set(two_mailboxes: RealServers) -> None:
    """The guide's OAuth2 user name: EmailSmtpUsername, else the From address."""
    real = two_mailboxes
    settings = real.settings("starttls", "XOAUTH2 Entra")
    assert (await sent(settings, real, OTHER_MAILBOX)).login == OTHER_MAILBOX
    real.postfix.forget()
    assert (await sent({**settings, "EmailSmtpUsername": MAILBOX}, real, OTHER_MAILBOX)).login == MAILBOX


CANNOT_CONNECT: Final = [
    pytest.param("implicit", "none", Reason.SMTP_PORT_MISMATCH, id="implicit SSL at a port without"),
    pytest.param("implicit", "starttls", Reason.SMTP_PORT_MISMATCH, id="implicit SSL at a STARTTLS port"),
    pytest.param("starttls", "implicit", Reason.SMTP_PORT_MISMATCH, id="STARTTLS at an implicit SSL port"),
    pytest.param("none", "implicit", Reason.SMTP_PORT_MISMATCH, id="no encryption at an implicit SSL port"),
    pytest.param("starttls", "none", Reason.SMTP_STARTTLS_MISSING, id="STARTTLS is not offered"),
    pytest.param("starttls", "starttls-old", Reason.SMTP_TLS_VERSION, id="TLS 1.1 after STARTTLS"),
    pytest.param("implicit", "implicit-old", Reason.SMTP_TLS_VERSION, id="TLS 1.1 at once"),
    pytest.param("starttls", "starttls-wrong-name", Reason.SMTP_CERTIFICATE, id="wrong name after STARTTLS"),
    pytest.param("implicit", "implicit-wrong-name", Reason.SMTP_CERTIFICATE, id="wrong name at once"),
    pytest.param("starttls", "starttls-untrusted", Reason.SMTP_CERTIFICATE, id="unknown issuer after STARTTLS"),
    pytest.param("implicit", "implicit-untrusted", Reason.SMTP_CERTIFICATE, id="unknown issuer at once"),
]


@pytest.mark.parametrize(("encryption", "listener", "reason"), CANNOT_CONNECT)
async def test_a_way_in_that_does_not_fit_is_named(
    encryption: str, listener: str, reason: Reason, real: RealServers
) -> None:
    """Found out at once, not after a time-out, and no mail goes out unencrypted instead."""
    port = {"EmailSmtpPort": str(real.postfix.port(listener))}
    async with asyncio.timeout(2 * SECONDS):
        error = await error_of({**real.connection(encryption), **port})
    assert isinstance(error, PermanentError)
    assert error.reason is reason
    assert real.postfix.logged("client=") == 0


@pytest.mark.parametrize("way", ["basic PLAIN", "basic LOGIN"])
async def test_a_wrong_password_is_told_with_the_servers_reply(way: str, real: RealServers) -> None:
    """One try, the guide's row, and nothing of the password."""
    error = await error_of({**real.settings("starttls", way), "EmailSmtpPassword": "wr0ng-password"})
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_AUTHENTICATION_REFUSED
    assert error.detail.startswith("535 5.7.8 ")
    assert ABOUT[error.reason].text == error_texts.AUTHENTICATION_UNSUCCESSFUL
    assert "wr0ng-password" not in str(error)
    await until(lambda: real.postfix.logged("authentication failed") == 1)


async def test_a_mailbox_without_permission_is_refused(real: RealServers) -> None:
    """The token is good, but not for this From."""
    error = await error_of(real.settings("starttls", "XOAUTH2 generic"), "somebody@else.example")
    assert error.reason is Reason.SMTP_AUTHENTICATION_REFUSED
    assert error.detail.startswith("535 5.7.8 ")


async def test_a_token_that_is_no_longer_good_is_refused_at_the_login(real: RealServers) -> None:
    """The session that is open goes on; XOAUTH2's challenge is answered, so that a verdict comes, and kept."""
    settings = real.settings("implicit", "XOAUTH2 generic")
    tokens = token_source(settings)
    async with session_of(settings, tokens=tokens) as session:
        real.identity.revoke_tokens()
        await send(session, "ann@example.org")
    error = await error_of(settings, tokens=tokens)
    assert error.reason is Reason.SMTP_AUTHENTICATION_REFUSED
    assert error.detail.startswith("535 5.7.8 ")
    assert '"status":"' in error.detail


@pytest.mark.parametrize(
    ("way", "wrong", "reason", "words"),
    [
        pytest.param(
            "XOAUTH2 Entra",
            {"EmailSmtpOAuth2ClientSecret": SECRET.swapcase()},
            Reason.OAUTH2_CLIENT_REFUSED,
            "HTTP 401 invalid_client AADSTS7000215",
            id="Entra's secret",
        ),
        pytest.param(
            "XOAUTH2 Entra",
            {"EmailSmtpOAuth2AzureTenantId": "another-tenant"},
            Reason.OAUTH2_CLIENT_REFUSED,
            "HTTP 400 invalid_request AADSTS90002",
            id="Entra's tenant",
        ),
        pytest.param(
            "XOAUTH2 Entra",
            {"EmailSmtpOAuth2ClientId": "another-client"},
            Reason.OAUTH2_CLIENT_REFUSED,
            "HTTP 400 unauthorized_client AADSTS700016",
            id="Entra's client",
        ),
        pytest.param(
            "XOAUTH2 Entra",
            {"EmailSmtpOAuth2Scope": "https://outlook.office365.com/SMTP.Send"},
            Reason.OAUTH2_SCOPE_REFUSED,
            "HTTP 400 invalid_scope AADSTS1002012",
            id="Entra's scope",
        ),
        pytest.param(
            "XOAUTH2 generic",
            {"EmailSmtpOAuth2ClientSecret": SECRET.swapcase()},
            Reason.OAUTH2_CLIENT_REFUSED,
            "HTTP 401 invalid_client",
            id="another provider's secret",
        ),
        pytest.param(
            "XOAUTH2 generic",
            {"EmailSmtpOAuth2Scope": "mail.admin"},
            Reason.OAUTH2_SCOPE_REFUSED,
            "HTTP 400 invalid_scope",
            id="another provider's scope",
        ),
    ],
)
async def test_a_client_that_is_refused_is_a_fault_of_the_settings(
    way: str, wrong: dict[str, str], reason: Reason, words: str, real: RealServers
) -> None:
    """With the setting's name and what the provider said; the mail server is left alone."""
    error = await error_of({**real.settings("starttls", way), **wrong})
    assert isinstance(error, PermanentError)
    assert error.reason is reason
    assert error.detail.startswith(words)
    assert set(wrong) <= set(error.settings)
    assert real.postfix.connections() == 0


@pytest.mark.parametrize(
    ("trouble", "retry_after"), [({"down": True}, None), ({"throttled": 1, "retryAfter": 60}, 60.0)]
)
@pytest.mark.parametrize("way", ["XOAUTH2 Entra", "XOAUTH2 generic"])
async def test_a_token_endpoint_in_trouble_is_waited_for(
    way: str, trouble: dict[str, int], retry_after: float | None, real: RealServers
) -> None:
    """As long as it says, if it says."""
    real.identity.control(**trouble)
    error = await error_of(real.settings("starttls", way))
    assert isinstance(error, TransientError)
    assert (error.reason, error.retry_after) == (Reason.TOKEN_UNAVAILABLE, retry_after)


@pytest.mark.parametrize(
    ("recipient", "reason", "scope"),
    [
        ("unknown@refused.example", Reason.RECIPIENT_REFUSED, None),
        ("full@refused.example", Reason.SMTP_MAILBOX_UNAVAILABLE, Scope.MESSAGE),
        ("later@refused.example", Reason.SMTP_THROTTLED, Scope.MESSAGE),
        ("spam@refused.example", Reason.MESSAGE_REFUSED, None),
        ("disk@refused.example", Reason.SMTP_BUSY, Scope.SERVER),
    ],
)
async def test_an_address_that_is_refused_leaves_the_session_to_the_next(
    recipient: str, reason: Reason, scope: Scope | None, real: RealServers
) -> None:
    """At RCPT, at DATA and after the final dot; the mails before and after it arrive, and it does not."""
    async with session_of(real.connection("starttls")) as session:
        await send(session, "before@example.org")
        with pytest.raises(NotifyError) as caught:
            await send(session, recipient)
        await send(session, "after@example.org")
    assert caught.value.reason is reason
    assert (caught.value.scope if isinstance(caught.value, TransientError) else None) is scope
    await until(lambda: real.postfix.stored == 2)
    assert {mail.recipient for mail in real.postfix.mails()} == {"before@example.org", "after@example.org"}
    assert real.postfix.connections() == 1


async def overlapping(session: Session, *recipients: str) -> list[NotifyError | None]:
    """Sends `MESSAGE` to each, as soon as the session takes it; how each ended that it took."""
    sending = list[asyncio.Task[None]]()
    for recipient in recipients:
        handed_on = asyncio.Event()
        sending.append(asyncio.create_task(send(session, recipient, ending=handed_on.set)))
        signal = asyncio.create_task(handed_on.wait())
        await asyncio.wait({sending[-1], signal}, return_when=asyncio.FIRST_COMPLETED)
        signal.cancel()
        if not session.usable:
            break
    ended = await asyncio.gather(*sending, return_exceptions=True)
    assert all(how is None or isinstance(how, NotifyError) for how in ended)
    return [how if isinstance(how, NotifyError) else None for how in ended]


@pytest.mark.parametrize("listener", ["none", "starttls", "implicit"])
async def test_mails_follow_each_other_at_postfix(listener: str, real: RealServers) -> None:
    """RFC 2920: a message may be the first of a group; each arrives once, byte for byte."""
    recipients = [f"{number}@example.org" for number in range(20)]
    async with session_of(real.connection(listener)) as session:
        assert await overlapping(session, *recipients) == [None] * 20
    await until(lambda: real.postfix.stored == 20)
    assert sorted(mail.recipient for mail in real.postfix.mails()) == sorted(recipients)
    assert all(mail.content == MESSAGE for mail in real.postfix.mails())
    assert real.postfix.connections() == 1


@pytest.mark.parametrize("refused", ["unknown@refused.example", "spam@refused.example", "disk@refused.example"])
async def test_a_mail_that_follows_a_refused_one_reaches_nobody_else(refused: str, real: RealServers) -> None:
    """Postfix 3.7 keeps a mail whose end it refused: what follows must not be added to it."""
    async with session_of(real.connection("starttls")) as session:
        before, at, *after = await overlapping(session, "before@example.org", refused, "after@example.org")
    assert before is None
    assert isinstance(at, NotifyError)
    assert all(how is None or isinstance(how, StaleSessionError) for how in after)
    arrived = {"before@example.org", *(["after@example.org"] if after == [None] else [])}
    await until(lambda: real.postfix.stored == len(arrived))
    assert {mail.recipient for mail in real.postfix.mails()} == arrived


async def test_a_relay_for_members_only_wants_a_login(real: RealServers) -> None:
    """Postfix's usual submission port: who does not log in is refused with words about the client."""
    async with session_of(real.connection("members")) as session:
        with pytest.raises(PermanentError) as caught:
            await send(session, "ann@example.org")
    assert caught.value.reason is Reason.SMTP_RELAY_REFUSED
    assert (await sent({**real.connection("members"), **BASIC}, real)).login == USER


async def test_a_session_that_the_server_closed_while_idle_is_stale(real: RealServers) -> None:
    """Nothing of the mail was accepted, so another session may send it."""
    async with session_of(real.connection("impatient")) as session:
        await send(session, "before@example.org")
        await until(lambda: real.postfix.logged("timeout after", "impatient") > 0)
        with pytest.raises(StaleSessionError):
            await send(session, "after@example.org")


@pytest.mark.parametrize("listener", ["two-sessions", "implicit-two-sessions"])
async def test_a_session_too_many_is_told_from_a_server_in_trouble(listener: str, real: RealServers) -> None:
    """Postfix says 421 4.7.0 in place of its greeting; the two sessions there are go on."""
    settings = real.connection(listener)
    async with session_of(settings) as first, session_of(settings) as second:
        error = await error_of(settings)
        for session in (first, second):
            await send(session, "ann@example.org")
    assert isinstance(error, TransientError)
    assert error.reason is Reason.SMTP_THROTTLED
    assert error.detail.startswith("421 4.7.0 ")
    await until(lambda: real.postfix.stored == 2)
