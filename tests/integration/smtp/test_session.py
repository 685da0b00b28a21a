"""Sessions against a scripted server that speaks the real protocol."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import pytest
import trustme
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contracts.dead_letter import Reason
from tests.support.smtp_server import SmtpServer, certified, outdated
from worker.errors import NotifyError, PermanentError, Scope, TransientError
from worker.smtp.diagnose import Diagnosis
from worker.smtp.oauth2 import Token
from worker.smtp.opening import open_session, trust
from worker.smtp.plan import Anonymous, Authentication, Basic, ConnectionPlan, Encryption, OAuth2
from worker.smtp.session import Session, StaleSessionError, framed

SENDER: Final = "cms@example.com"
RECIPIENT: Final = "ann@example.org"
MESSAGE: Final = b"Subject: Hello\r\n\r\n.dot first\r\n..two dots\r\n.\r\nlast line\r\n"
BASIC: Final = Basic("cms", SecretStr("s#cr=t \u00fc"))
OAUTH2: Final = OAuth2(SENDER, "client", SecretStr("secret"), "https://idp.invalid/token", "")
TOKEN: Final = Token.lasting(3600, SecretStr("eyJ0.token"), time.monotonic())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of these tests."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """The worker's trust, with that authority in it."""
    context = trust()
    authority.configure_trust(context)
    return context


async def _token() -> Token:
    return TOKEN


def _plan(
    server: SmtpServer,
    authentication: Authentication | None = None,
    encryption: Encryption = Encryption.NONE,
) -> ConnectionPlan:
    return ConnectionPlan(server.host, server.port, encryption, authentication or Anonymous())


@asynccontextmanager
async def _session(
    server: SmtpServer,
    tls: ssl.SSLContext,
    authentication: Authentication | None = None,
    encryption: Encryption = Encryption.NONE,
    seconds: float = 5.0,
) -> AsyncIterator[Session]:
    plan = _plan(server, authentication, encryption)
    session = await open_session(
        plan, timeout=seconds, tls=tls, token=_token, local_hostname="worker.example.com"
    )
    try:
        yield session
    finally:
        await session.close()


async def _send(session: Session, recipient: str = RECIPIENT, message: bytes = MESSAGE) -> None:
    await session.send(SENDER, recipient, message, smtputf8=False)


async def _error(action: Awaitable[object]) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        await action
    return caught.value


AUTHENTICATIONS: Final[dict[str, tuple[Authentication, tuple[str, ...]]]] = {
    "anonymous": (Anonymous(), ()),
    "plain": (BASIC, ("LOGIN", "PLAIN")),
    "login": (BASIC, ("LOGIN",)),
    "xoauth2": (OAUTH2, ("LOGIN", "XOAUTH2")),
    "oauthbearer": (OAUTH2, ("LOGIN", "OAUTHBEARER")),
}


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
@pytest.mark.parametrize("authentication", AUTHENTICATIONS)
@pytest.mark.parametrize("encryption", Encryption)
async def test_every_way_to_connect_delivers_the_message_byte_for_byte(
    host: str, authentication: str, encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """The guide's two decisions, how to connect and how to authenticate, are independent of each other."""
    who, mechanisms = AUTHENTICATIONS[authentication]
    server = SmtpServer(
        host=host,
        tls=certified(authority) if encryption is not Encryption.NONE else None,
        implicit=encryption is Encryption.IMPLICIT,
        mechanisms=mechanisms,
        users={"cms": "s#cr=t \u00fc"},
        tokens={SENDER: "eyJ0.token"},
        login_required=authentication != "anonymous",
    )
    async with server, _session(server, tls, who, encryption) as session:
        reply = await session.send(SENDER, RECIPIENT, MESSAGE, smtputf8=False)
    assert reply.code == 250
    (accepted,) = server.accepted
    assert (accepted.sender, accepted.recipients, accepted.content) == (SENDER, (RECIPIENT,), MESSAGE)
    assert accepted.encrypted is (encryption is not Encryption.NONE)
    assert session.server.mechanism == ("" if authentication == "anonymous" else authentication)
    assert session.server.tls_version.startswith("TLSv1." if accepted.encrypted else "")
    assert [login.ok for login in server.logins] == [True] * bool(mechanisms)


def _open(
    server: SmtpServer,
    tls: ssl.SSLContext,
    authentication: Authentication | None = None,
    encryption: Encryption = Encryption.NONE,
) -> Awaitable[Session]:
    plan = _plan(server, authentication, encryption)
    return open_session(
        plan,
        timeout=0.5,
        tls=tls,
        token=_token,
        local_hostname="worker.example.com",
        diagnosis=Diagnosis(seconds=0.5),
    )


@asynccontextmanager
async def _old_server(tls: ssl.SSLContext, *, implicit: bool) -> AsyncIterator[SmtpServer]:
    """Refuses the handshake with an alert, as mail servers do; asyncio's own servers forget to send it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not implicit:
            for reply in (b"220 old ESMTP\r\n", b"250-old\r\n250 STARTTLS\r\n", b"220 Go ahead\r\n"):
                writer.write(reply)
                await (reader.readline() if not reply.startswith(b"220 Go") else writer.drain())
        received, answer = ssl.MemoryBIO(), ssl.MemoryBIO()
        received.write(await reader.read(4096))
        with suppress(ssl.SSLError):
            tls.wrap_bio(received, answer, server_side=True).do_handshake()
        writer.write(answer.read())
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    served: set[asyncio.Task[None]] = set()
    async with await asyncio.start_server(
        lambda *streams: served.add(asyncio.create_task(serve(*streams))), "127.0.0.1", 0
    ) as server:
        yield SmtpServer(port=server.sockets[0].getsockname()[1])
        await asyncio.gather(*served)


async def test_implicit_ssl_against_a_starttls_port_is_a_port_mismatch(tls: ssl.SSLContext) -> None:
    """The guide: enabling EmailSmtpUseImplicitSSL while still pointing at port 587."""
    async with SmtpServer() as server:
        error = await _error(_open(server, tls, encryption=Encryption.IMPLICIT))
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_PORT_MISMATCH


@pytest.mark.parametrize("encryption", [Encryption.NONE, Encryption.STARTTLS])
@pytest.mark.parametrize("trusted", [True, False])
async def test_plain_or_starttls_against_an_implicit_ssl_port_is_a_port_mismatch(
    encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext, *, trusted: bool
) -> None:
    """The guide: enabling STARTTLS against port 465. Such a port sends no greeting, so TLS is tried on it."""
    certificate = certified(authority if trusted else trustme.CA())
    async with SmtpServer(tls=certificate, implicit=True) as server:
        error = await _error(_open(server, tls, encryption=encryption))
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_PORT_MISMATCH


async def test_what_is_no_smtp_server_is_a_port_mismatch(tls: ssl.SSLContext) -> None:
    """A garbled greeting cannot be cured by trying again."""
    async with SmtpServer(greeting="HTTP/1.1 400 Bad Request") as server:
        error = await _error(_open(server, tls))
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_PORT_MISMATCH


@pytest.mark.parametrize("encryption", [Encryption.STARTTLS, Encryption.IMPLICIT])
async def test_a_server_without_tls_1_2_is_refused(
    encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """The guide: TLS 1.2 or TLS 1.3; older protocol versions are not supported."""
    async with _old_server(outdated(authority), implicit=encryption is Encryption.IMPLICIT) as server:
        error = await _error(_open(server, tls, encryption=encryption))
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_TLS_VERSION


@pytest.mark.parametrize("encryption", [Encryption.STARTTLS, Encryption.IMPLICIT])
@pytest.mark.parametrize("fault", ["unknown authority", "another name"])
async def test_a_certificate_that_cannot_be_verified_is_refused(
    encryption: Encryption, fault: str, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """RFC 8314: the certificate must be that of the configured name, by a trusted authority."""
    strange = certified(trustme.CA()) if fault == "unknown authority" else certified(authority, "other.invalid")
    async with SmtpServer(tls=strange, implicit=encryption is Encryption.IMPLICIT) as server:
        error = await _error(_open(server, tls, encryption=encryption))
        assert not server.logins
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_CERTIFICATE
    assert error.detail


async def test_starttls_is_never_given_up_for_plain_text(tls: ssl.SSLContext) -> None:
    """With EmailSmtpUseSSL nothing is sent before the connection is encrypted."""
    async with SmtpServer(mechanisms=("PLAIN",), users={"cms": "s"}) as server:
        error = await _error(_open(server, tls, BASIC, Encryption.STARTTLS))
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_STARTTLS_MISSING
    assert not server.logins


OPENING: Final = [
    ("CONNECT", "554 5.7.1 You are not welcome", Reason.SMTP_RELAY_REFUSED, None),
    ("CONNECT", "421 4.3.2 Shutting down", Reason.SMTP_THROTTLED, Scope.SERVER),
    ("CONNECT", "450 Not now", Reason.SMTP_BUSY, Scope.SERVER),
    ("EHLO", "550 5.7.1 Who are you?", Reason.SMTP_RELAY_REFUSED, None),
    ("EHLO", "421 Closing", Reason.SMTP_BUSY, Scope.SERVER),
    ("STARTTLS", "454 4.7.0 TLS not available", Reason.SMTP_THROTTLED, Scope.SERVER),
    ("STARTTLS", "502 5.5.1 No", Reason.SMTP_STARTTLS_MISSING, None),
    ("AUTH", "535 5.7.8 No", Reason.SMTP_AUTHENTICATION_REFUSED, None),
    ("AUTH", "454 4.7.0 Later", Reason.SMTP_BUSY, Scope.LOGIN),
    ("AUTH", "421 4.7.0 Too many login attempts", Reason.SMTP_THROTTLED, Scope.LOGIN),
]


@pytest.mark.parametrize("case", OPENING, ids=lambda case: f"{case[0]} {case[1]}")
async def test_a_refusal_while_opening_is_told_by_its_phase(
    case: tuple[str, str, Reason, Scope | None], authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """The same code means different things before, at and after the login. Without a scope it is permanent."""
    point, reply, reason, scope = case
    async with SmtpServer(
        tls=certified(authority), mechanisms=("PLAIN", "LOGIN"), users={"cms": "s#cr=t \u00fc"}
    ) as server:
        server.answer(point, reply)
        error = await _error(_open(server, tls, BASIC, Encryption.STARTTLS))
    assert (error.reason, error.detail) == (reason, reply)
    assert isinstance(error, TransientError if scope else PermanentError)
    assert getattr(error, "scope", None) is scope
    assert len(server.logins) == (point == "AUTH")  # a second mechanism is not tried: accounts get locked


async def test_a_closed_port_is_unreachable(tls: ssl.SSLContext) -> None:
    """Plainly refused: the server may come back."""
    server = SmtpServer()
    await server.start()
    await server.stop()
    error = await _error(_open(server, tls))
    assert isinstance(error, TransientError)
    assert (error.reason, error.scope) == (Reason.SMTP_UNREACHABLE, Scope.SERVER)
    assert error.detail.startswith("connect: the connection was refused: nothing listens at EmailSmtpPort")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", ".example.com", "x" * 70])
@pytest.mark.parametrize("encryption", [Encryption.NONE, Encryption.IMPLICIT])
async def test_a_host_that_does_not_resolve_is_unreachable(
    host: str, encryption: Encryption, tls: ssl.SSLContext
) -> None:
    """Names come back too, and a name may be no name at all."""
    error = await _error(_open(SmtpServer(host=host, port=25), tls, encryption=encryption))
    assert isinstance(error, TransientError)
    assert (error.reason, error.scope) == (Reason.SMTP_UNREACHABLE, Scope.SERVER)
    assert error.detail.startswith("connect: ")


@pytest.mark.parametrize("encryption", Encryption)
async def test_a_server_that_hangs_up_or_is_silent_is_unreachable(
    encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """At whatever step it happens; every step has its own time limit."""
    points = ("CONNECT", "EHLO", "AUTH", *(("STARTTLS",) if encryption is Encryption.STARTTLS else ()))
    certificate = certified(authority) if encryption is not Encryption.NONE else None
    async with SmtpServer(
        tls=certificate,
        implicit=encryption is Encryption.IMPLICIT,
        mechanisms=("PLAIN",),
        users={"cms": "s#cr=t \u00fc"},
    ) as server:
        for point, act in [(p, act) for p in points for act in (server.hang_up, server.stay_silent)]:
            server.forget_script()
            act(point)
            error = await _error(_open(server, tls, BASIC, encryption))
            assert isinstance(error, TransientError), (point, error)
            assert (error.reason, error.scope) == (Reason.SMTP_UNREACHABLE, Scope.SERVER)
            assert error.detail.startswith("greeting" if point == "CONNECT" else point.lower())


async def test_a_relay_that_knows_no_ehlo_gets_helo(tls: ssl.SSLContext) -> None:
    """RFC 5321 section 3.2: old relays answer EHLO with 500 or 502."""
    async with SmtpServer() as server:
        server.answer("EHLO", "502 5.5.1 Not implemented")
        async with _session(server, tls) as session:
            await _send(session)
    assert server.accepted[0].options == ()
    assert server.accepted[0].content == MESSAGE


@pytest.mark.parametrize("mechanisms", [(), ("CRAM-MD5",), ("XOAUTH2",)])
async def test_a_server_that_offers_no_usable_mechanism_is_told_apart(
    mechanisms: tuple[str, ...], tls: ssl.SSLContext
) -> None:
    """Nothing is tried that the server did not offer."""
    async with SmtpServer(mechanisms=mechanisms) as server:
        error = await _error(_open(server, tls, BASIC))
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.SMTP_AUTHENTICATION_MISSING
    offered = mechanisms[0].lower() if mechanisms else "nothing"
    assert error.detail == f"needed for AUTH: plain or login; offered: {offered}"
    assert not server.logins


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_refused_token_brings_the_servers_reason(mechanism: str, tls: ssl.SSLContext) -> None:
    """Gmail explains itself in a challenge before the 535; the token is never repeated."""
    challenge = '{"status":"401","schemes":"bearer","scope":"https://mail.example/"}'
    async with SmtpServer(mechanisms=(mechanism,), tokens={SENDER: "another"}, challenge=challenge) as server:
        error = await _error(_open(server, tls, OAUTH2))
    assert error.reason is Reason.SMTP_AUTHENTICATION_REFUSED
    assert error.detail == f"535 5.7.3 Authentication unsuccessful {challenge}"
    assert "eyJ0" not in str(error)
    assert server.connections == len(server.logins) == 1


@pytest.mark.parametrize(("who", "mechanism"), [(BASIC, "PLAIN"), (OAUTH2, "XOAUTH2")])
async def test_a_server_may_want_the_credentials_in_a_line_of_their_own(
    who: Authentication, mechanism: str, tls: ssl.SSLContext
) -> None:
    """Microsoft documents XOAUTH2 in two steps; 501 or 504 to the short form asks for them."""
    async with SmtpServer(
        mechanisms=(mechanism,),
        users={"cms": "s#cr=t \u00fc"},
        tokens={SENDER: "eyJ0.token"},
        initial_response=False,
    ) as server:
        session = await _open(server, tls, who)
        await session.close()
    assert [login.ok for login in server.logins] == [True]


async def test_a_server_that_repeats_the_command_gives_no_secret_away(tls: ssl.SSLContext) -> None:
    """Base64 of a password is the password."""
    async with SmtpServer(mechanisms=("PLAIN",), users={"cms": "s#cr=t \u00fc"}) as server:
        encoded = "AGNtcwBzI2NyPXQgw7w="
        server.answer("AUTH", f"535 5.7.8 Error: AUTH PLAIN {encoded} failed")
        error = await _error(_open(server, tls, BASIC))
    assert f"AUTH PLAIN {encoded}" in server.commands
    assert error.detail == "535 5.7.8 Error: AUTH PLAIN <secret> failed"


async def test_without_a_token_the_mail_server_is_left_alone(tls: ssl.SSLContext) -> None:
    """The token comes first, and its error is passed on as it is."""

    async def refuse() -> Token:
        raise PermanentError(Reason.OAUTH2_CLIENT_REFUSED)

    async with SmtpServer(mechanisms=("XOAUTH2",)) as server:
        opening = open_session(_plan(server, OAUTH2), timeout=1, tls=tls, token=refuse, local_hostname="w")
        error = await _error(opening)
    assert error.reason is Reason.OAUTH2_CLIENT_REFUSED
    assert server.connections == 0


async def test_a_session_ends_with_its_token(tls: ssl.SSLContext) -> None:
    """RFC 4954 allows no second AUTH, so the pool has to know; other logins do not end."""
    async with SmtpServer(mechanisms=("XOAUTH2",), tokens={SENDER: "eyJ0.token"}) as server:
        async with _session(server, tls, OAUTH2) as session:
            assert session.expires_at == TOKEN.expires_at
        async with _session(server, tls) as session:
            assert session.expires_at is None


async def test_nothing_is_introduced_again_after_the_login(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """A second EHLO ends the login at Exchange; after STARTTLS one is due."""
    async with (
        SmtpServer(
            tls=certified(authority), mechanisms=("PLAIN",), users={"cms": "s#cr=t \u00fc"}, login_required=True
        ) as server,
        _session(server, tls, BASIC, Encryption.STARTTLS) as session,
    ):
        await _send(session)
        await _send(session)
    verbs = [command.split()[0] for command in server.commands]
    assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", *["MAIL", "RCPT", "DATA"] * 2, "QUIT"]
    assert server.connections == 1


MISTRUST: Final = "554 5.7.1 Message looks like spam"
SENDING: Final = [
    ("MAIL", "550 5.1.8 Bad sender", PermanentError, Reason.SMTP_SEND_AS_DENIED),
    ("MAIL", "451 4.7.1 Later", TransientError, Reason.SMTP_THROTTLED),
    ("RCPT", "550 5.1.1 No such user", PermanentError, Reason.RECIPIENT_REFUSED),
    ("RCPT", "450 4.2.0 Mailbox busy", TransientError, Reason.SMTP_MAILBOX_UNAVAILABLE),
    ("RCPT", "503 5.5.1 Bad sequence", TransientError, Reason.SMTP_BUSY),
    ("DATA", "554 5.5.1 No valid recipients", PermanentError, Reason.MESSAGE_REFUSED),
    ("DATA", "452 4.3.1 Disk full", TransientError, Reason.SMTP_BUSY),
    ("BODY", MISTRUST, PermanentError, Reason.MESSAGE_REFUSED),
    ("BODY", "552 5.3.4 Too big", PermanentError, Reason.MESSAGE_TOO_LARGE),
    ("BODY", "451 4.3.0 Queue file", TransientError, Reason.SMTP_BUSY),
]


@pytest.mark.parametrize(("point", "reply", "kind", "reason"), SENDING)
async def test_a_refused_mail_leaves_the_session_fit_for_the_next(
    point: str, reply: str, kind: type[NotifyError], reason: Reason, tls: ssl.SSLContext
) -> None:
    """One mail's refusal is not the next one's trouble, and nothing of it is left behind."""
    async with SmtpServer() as server:
        server.answer(point, reply, times=1)
        async with _session(server, tls) as session:
            error = await _error(_send(session, "bob@example.org"))
            assert (type(error), error.reason, error.detail) == (kind, reason, reply)
            assert session.usable
            await _send(session)
    assert [accepted.recipients for accepted in server.accepted] == [(RECIPIENT,)]
    assert server.connections == 1


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA", "BODY"])
async def test_421_ends_the_session_wherever_it_comes(point: str, tls: ssl.SSLContext) -> None:
    """RFC 5321 section 3.8: the server is closing the channel; the mail was not accepted."""
    async with SmtpServer() as server:
        server.answer(point, "421 4.3.0 Shutting down")
        async with _session(server, tls) as session:
            error = await _error(_send(session))
            assert not session.usable
    assert isinstance(error, TransientError)
    assert (type(error), error.reason, error.scope) == (TransientError, Reason.SMTP_BUSY, Scope.SERVER)
    assert not error.unknown


@pytest.mark.parametrize("act", [SmtpServer.hang_up, SmtpServer.stay_silent])
@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA"])
async def test_a_connection_that_breaks_before_the_body_is_the_servers_trouble(
    point: str, act: Callable[[SmtpServer, str], None], tls: ssl.SSLContext
) -> None:
    """Nothing was accepted, so the mail can be sent again without a thought."""
    async with SmtpServer() as server:
        act(server, point)
        async with _session(server, tls, seconds=0.2) as session:
            error = await _error(_send(session))
            assert not session.usable
    assert isinstance(error, TransientError)
    assert (type(error), error.reason, error.scope) == (TransientError, Reason.SMTP_UNREACHABLE, Scope.SERVER)
    assert not error.unknown


@pytest.mark.parametrize("accept", [True, False])
async def test_a_connection_that_breaks_after_the_final_dot_leaves_the_outcome_unknown(
    tls: ssl.SSLContext, *, accept: bool
) -> None:
    """RFC 5321 section 4.2.5: no reply does not mean no mail."""
    async with SmtpServer() as server:
        server.hang_up("BODY", accept=accept)
        async with _session(server, tls) as session:
            error = await _error(_send(session))
            assert not session.usable
    assert isinstance(error, TransientError)
    assert error.unknown
    assert (error.reason, error.scope) == (Reason.SMTP_UNREACHABLE, Scope.MESSAGE)
    assert len(server.accepted) == accept


LARGE: Final = b"Subject: Large\r\n\r\n" + (b"." + b"x" * 75 + b"\r\n") * 130_000


async def test_a_connection_that_breaks_within_the_body_leaves_no_doubt(tls: ssl.SSLContext) -> None:
    """A server must not accept a mail whose end it has not seen."""
    async with SmtpServer() as server:
        server.hang_up("CONTENT")
        async with _session(server, tls) as session:
            error = await _error(_send(session, message=LARGE))
            assert not session.usable
    assert isinstance(error, TransientError)
    assert (error.reason, error.unknown, error.scope) == (Reason.SMTP_UNREACHABLE, False, Scope.SERVER)


async def test_a_server_that_stops_reading_is_given_up(tls: ssl.SSLContext) -> None:
    """The time limit holds for every block of the body, not for the body as a whole."""
    async with SmtpServer() as server:
        server.stay_silent("CONTENT")
        async with _session(server, tls, seconds=0.3) as session:
            error = await _error(_send(session, message=LARGE * 2))
    assert isinstance(error, TransientError)
    assert (error.detail, error.unknown) == ("body: no answer in time", False)


async def test_the_reply_to_the_final_dot_may_take_longer_than_any_other(tls: ssl.SSLContext) -> None:
    """RFC 5321 section 4.5.3.2.6: ten minutes."""
    async with SmtpServer() as server:
        server.delay("BODY", 0.5)
        async with _session(server, tls, seconds=0.2) as session:
            await _send(session)
    assert len(server.accepted) == 1


@pytest.mark.parametrize("encryption", Encryption)
async def test_ten_megabytes_arrive_byte_for_byte(
    encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """In blocks, with every leading dot doubled and halved again."""
    certificate = certified(authority) if encryption is not Encryption.NONE else None
    server = SmtpServer(tls=certificate, implicit=encryption is Encryption.IMPLICIT)
    async with server, _session(server, tls, encryption=encryption) as session:
        await _send(session, message=LARGE)
    assert server.accepted[0].content == LARGE


async def test_a_session_that_died_while_idle_says_so(tls: ssl.SSLContext) -> None:
    """Nothing of the mail was accepted: it goes on another session, and no attempt is counted."""
    async with SmtpServer() as server:
        server.hang_up("MAIL", skip=1, times=1)
        server.answer("MAIL", "421 4.4.2 Idle for too long", skip=2)
        for reason in (Reason.SMTP_UNREACHABLE, Reason.SMTP_BUSY):
            async with _session(server, tls) as session:
                await _send(session)
                error = await _error(_send(session))
                assert isinstance(error, StaleSessionError)
                assert error.reason is reason
                assert not session.usable


async def test_a_session_cut_while_idle_is_no_longer_usable(tls: ssl.SSLContext) -> None:
    """The pool sees it before a mail has to find out."""
    async with SmtpServer() as server, _session(server, tls) as session:
        await _send(session)
        await server.cut()
        async with asyncio.timeout(5):
            while session.usable:  # noqa: ASYNC110 - the connection's end comes as an event of the loop
                await asyncio.sleep(0)


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA", "BODY"])
async def test_a_cancelled_mail_ends_the_session(point: str, tls: ssl.SSLContext) -> None:
    """A reply that comes late must never be taken for the next mail's."""
    async with SmtpServer() as server, _session(server, tls) as session:
        server.stay_silent(point)
        sending = asyncio.create_task(_send(session))
        await server.reached[point].wait()
        sending.cancel()
        await asyncio.wait([sending])
        assert not session.usable
    assert "QUIT" not in server.commands
    assert sending.cancelled() is (point != "BODY")


async def test_a_mail_cancelled_after_its_end_is_unknown(tls: ssl.SSLContext) -> None:
    """It may have been accepted, and nobody will hear of it."""
    async with SmtpServer() as server, _session(server, tls) as session:
        server.stay_silent("BODY")
        sending = asyncio.create_task(_send(session))
        await server.reached["BODY"].wait()
        sending.cancel()
        error = await _error(sending)
    assert isinstance(error, TransientError)
    assert (error.unknown, error.scope) == (True, Scope.MESSAGE)


async def test_a_message_over_the_servers_size_is_not_begun(tls: ssl.SSLContext) -> None:
    """RFC 1870: the limit stands in the reply to EHLO, so not one round trip is lost."""
    async with SmtpServer(extensions=("SIZE 20",)) as server, _session(server, tls) as session:
        error = await _error(_send(session))
        assert isinstance(error, PermanentError)
        assert (error.reason, error.detail) == (
            Reason.MESSAGE_TOO_LARGE,
            f"{len(MESSAGE)} bytes, the server accepts 20",
        )
        await _send(session, message=b"Subject: x\r\n\r\ny\r\n")
    assert len(server.accepted) == 1


@pytest.mark.parametrize("extensions", [("SIZE",), ("SIZE 0",), ("SIZE much",), ()])
async def test_a_server_without_a_size_limit_takes_any_message(
    extensions: tuple[str, ...], tls: ssl.SSLContext
) -> None:
    """RFC 1870: zero or nothing means no fixed limit."""
    async with SmtpServer(extensions=extensions) as server, _session(server, tls) as session:
        await _send(session)
    assert server.accepted[0].options == ((f"SIZE={len(MESSAGE)}",) if extensions else ())


async def test_an_international_address_needs_a_server_that_takes_it(tls: ssl.SSLContext) -> None:
    """RFC 6531: SMTPUTF8 is asked for, and only when it is needed."""
    address, message = "j\u00fcrgen@example.org", "Subject: Gr\u00fc\u00dfe\r\n\r\nx\r\n".encode()
    async with SmtpServer() as server, _session(server, tls) as session:
        await session.send(SENDER, address, message, smtputf8=True)
    assert server.accepted[0].recipients == (address,)
    assert server.accepted[0].options == (f"SIZE={len(message)}", "BODY=8BITMIME", "SMTPUTF8")
    async with SmtpServer(extensions=()) as server, _session(server, tls) as session:
        error = await _error(session.send(SENDER, address, message, smtputf8=True))
        assert session.usable
    assert error.reason is Reason.ADDRESS_UNSUPPORTED


@pytest.mark.parametrize(
    "address",
    ["a@b.example> SIZE=1", "a@b.example\r\nRSET", "a b@c.example", "<a@b.example>x", "\u00fc@b.example"],
)
@pytest.mark.parametrize("place", ["sender", "recipient"])
async def test_an_address_cannot_break_out_of_its_command(
    place: str, address: str, tls: ssl.SSLContext
) -> None:
    """Whatever stands in an event, it adds no word to the dialogue."""
    envelope = {"sender": SENDER, "recipient": RECIPIENT, place: address}
    async with SmtpServer() as server, _session(server, tls) as session:
        error = await _error(session.send(envelope["sender"], envelope["recipient"], MESSAGE, smtputf8=False))
        assert error.reason is Reason.ADDRESS_UNSUPPORTED
        assert address not in str(error)
        await _send(session)
    assert not any("b.example" in command for command in server.commands)


@pytest.mark.parametrize(
    "address", ['"john doe"@example.org', "o'hara+tag@example.org", "x@xn--bcher-kva.example", "a@[192.0.2.1]"]
)
async def test_an_unusual_address_arrives_as_it_is(address: str, tls: ssl.SSLContext) -> None:
    """Quoted local parts, tags, punycode and address literals are addresses too."""
    async with SmtpServer() as server, _session(server, tls) as session:
        await session.send(address, address, MESSAGE, smtputf8=False)
    assert server.commands[1].startswith(f"MAIL FROM:<{address}>")
    assert server.commands[2] == f"RCPT TO:<{address}>"


@pytest.mark.parametrize("message", [b"a\n.\nb\r\n", b"a\r.\rb\r\n", b"a\r\n\n.\r\n"])
async def test_bare_line_ends_are_not_sent(message: bytes, tls: ssl.SSLContext) -> None:
    """Behind them some servers see the end of the mail, and a second mail."""
    async with SmtpServer() as server, _session(server, tls) as session:
        error = await _error(_send(session, message=message))
        assert session.usable
    assert error.reason is Reason.UNEXPECTED
    assert not any(command.startswith("MAIL") for command in server.commands)


LINES: Final = st.lists(
    min_size=1, elements=st.binary(max_size=5).map(lambda b: b.translate(None, b"\r\n")) | st.just(b".")
)


@given(lines=LINES)
@settings(max_examples=200, deadline=None)
def test_framing_ends_only_at_the_end_and_can_be_undone(lines: list[bytes]) -> None:
    """RFC 5321 section 4.5.2: what the receiver undoes is what the sender did."""
    message = b"".join(line + b"\r\n" for line in lines)
    framed_lines = framed(message).split(b"\r\n")
    assert framed_lines.index(b".") == len(framed_lines) - 2
    assert [line.removeprefix(b".") for line in framed_lines[:-2]] == message.split(b"\r\n")[:-1]


async def test_a_message_without_a_last_line_end_gets_one(tls: ssl.SSLContext) -> None:
    """The final dot stands alone on its line."""
    async with SmtpServer() as server, _session(server, tls) as session:
        await _send(session, message=b"Subject: x\r\n\r\ny")
    assert server.accepted[0].content == b"Subject: x\r\n\r\ny\r\n"


@pytest.mark.parametrize("act", [SmtpServer.hang_up, SmtpServer.stay_silent])
async def test_closing_never_raises_nor_waits_for_long(
    act: Callable[[SmtpServer, str], None], tls: ssl.SSLContext
) -> None:
    """Taking leave is a courtesy; it may be done twice."""
    async with SmtpServer() as server:
        act(server, "QUIT")
        session = await _open(server, tls)
        async with asyncio.timeout(2):
            await session.close()
            await session.close()
        assert not session.usable
        assert "QUIT" in server.commands


def test_the_password_is_in_no_repr() -> None:
    """Plans and tokens may end up in a log."""
    assert "s#cr" not in repr(ConnectionPlan("h", 25, Encryption.NONE, BASIC))
    assert "eyJ0" not in repr(TOKEN)


@pytest.mark.parametrize("encryption", Encryption)
def test_uvloop_makes_no_difference(encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """The worker runs on uvloop, whose transports are its own."""

    async def scenario() -> None:
        certificate = certified(authority) if encryption is not Encryption.NONE else None
        async with SmtpServer(tls=certificate, implicit=encryption is Encryption.IMPLICIT) as server:
            async with _session(server, tls, encryption=encryption) as session:
                await _send(session, message=LARGE)
                server.hang_up("BODY")
                error = await _error(_send(session))
                assert isinstance(error, TransientError)
                assert error.unknown
            server.forget_script()
            wrong = Encryption.NONE if encryption is Encryption.IMPLICIT else Encryption.IMPLICIT
            error = await _error(_open(server, tls, encryption=wrong))
            assert error.reason is Reason.SMTP_PORT_MISMATCH
        assert server.accepted[0].content == LARGE

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_a_plain_refusal_at_a_port_of_implicit_ssl_is_passing_trouble(tls: ssl.SSLContext) -> None:
    """A server that is overloaded says so before TLS: that is no mismatch of port and encryption."""
    async with SmtpServer(max_connections=0) as server:
        error = await _error(_open(server, tls, encryption=Encryption.IMPLICIT))
    assert isinstance(error, TransientError)
    assert error.scope is Scope.SERVER
