"""Tokens from a scripted endpoint over real HTTPS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import pytest
import trustme
from pydantic import SecretStr

from contracts.dead_letter import Reason
from tests.support.smtp_server import certified
from tests.support.token_server import ENTRA_REFUSAL, TokenServer
from worker.errors import NotifyError, PermanentError, Scope, TransientError
from worker.smtp.oauth2 import Token, TokenSource
from worker.smtp.plan import OAuth2

SECRET: Final = "se~cr&et=+ %ü"


class Clock:
    """Monotonic time that only moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of these tests."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """A client's trust, with that authority in it."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
async def server(authority: trustme.CA) -> AsyncIterator[TokenServer]:
    """A token endpoint that knows one client."""
    async with TokenServer(certified(authority), clients={"app": SECRET}) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    """The time of the source."""
    return Clock()


@pytest.fixture
async def source(tls: ssl.SSLContext, clock: Clock) -> AsyncIterator[TokenSource]:
    """The source under test."""
    tokens = TokenSource(tls, timeout=5, clock=clock)
    yield tokens
    await tokens.close()


def _client(server: TokenServer, *, secret: str = SECRET, scope: str = "", path: str = "/token") -> OAuth2:
    return OAuth2("cms@example.com", "app", SecretStr(secret), server.url(path), scope)


async def _value(source: TokenSource, client: OAuth2) -> str:
    return (await source.token(client)).value.get_secret_value()


async def _error(source: TokenSource, client: OAuth2) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        await source.token(client)
    return caught.value


@pytest.mark.parametrize("scope", ["", "mail.send", "https://outlook.office365.com/.default offline"])
async def test_a_client_gets_a_token(scope: str, source: TokenSource, server: TokenServer) -> None:
    """The client credentials grant as a form (RFC 6749 section 4.4.2); an empty scope is left out."""
    token = await source.token(_client(server, scope=scope, path="/tenant/oauth2/v2.0/token"))
    assert token.value.get_secret_value() == "token-1"
    assert token.expires_at == 1000.0 + 3600
    (request,) = server.requests
    assert request.path == "/tenant/oauth2/v2.0/token"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    wanted = {"grant_type": "client_credentials", "client_id": "app", "client_secret": SECRET}
    assert request.form == wanted | ({"scope": scope} if scope else {})


async def test_how_long_the_first_token_lasts_is_told(
    source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """None without one; of several the one that ends first; negative once it has ended."""
    assert source.expires_in() is None
    await _value(source, _client(server))
    server.answer(200, {"access_token": "short", "expires_in": 600}, times=1)
    await _value(source, _client(server, scope="x"))
    assert source.expires_in() == 600
    clock.now += 700
    assert source.expires_in() == -100


async def test_all_who_wait_share_one_request(source: TokenSource, server: TokenServer) -> None:
    """However many sessions open at once, and whichever mailboxes they log in for."""
    first = _client(server)
    second = OAuth2("other@example.com", "app", SecretStr(SECRET), server.url(), "")
    values = await asyncio.gather(*(_value(source, client) for client in (first, second) * 50))
    assert set(values) == {"token-1"}
    assert len(server.requests) == 1


async def test_each_client_and_scope_has_its_own_token(source: TokenSource, server: TokenServer) -> None:
    """A changed secret is another client, so it is tried at once."""
    server.clients = {"app": SECRET}
    assert await _value(source, _client(server)) == "token-1"
    assert await _value(source, _client(server, scope="x")) == "token-2"
    assert (await _error(source, _client(server, secret="old"))).reason is Reason.OAUTH2_CLIENT_REFUSED


async def test_one_who_gives_up_waiting_stops_nobody_else(source: TokenSource, server: TokenServer) -> None:
    """A cancelled mail does not cancel the request that others wait for."""
    server.answer(200, {"access_token": "slow"}, delay=0.2)
    impatient, patient = (asyncio.create_task(_value(source, _client(server))) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == "slow"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("lifetime", "renew_after"), [(86400, 69120), (3600, 2880), (600, 300), (60, 30)], ids=str
)
async def test_a_token_is_renewed_ahead(
    lifetime: float, renew_after: float, source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """With a fifth of its life or five minutes left, whichever is more, but not in its first half."""
    server.lifetime = lifetime
    client = _client(server)
    await source.token(client)
    clock.now += renew_after - 1
    assert await _value(source, client) == "token-1"
    assert len(server.requests) == 1
    clock.now += 1
    await _until_renewed(source, client)
    assert len(server.requests) == 2


async def _until_renewed(source: TokenSource, client: OAuth2) -> None:
    async with asyncio.timeout(5):
        while await _value(source, client) == "token-1":  # noqa: ASYNC110 - nobody awaits a renewal ahead of time
            await asyncio.sleep(0.01)


async def test_a_token_serves_while_it_is_renewed(
    source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """No mail waits for a renewal."""
    client = _client(server)
    await source.token(client)
    server.answer(200, {"access_token": "late"}, delay=60)
    clock.now += 3000
    async with asyncio.timeout(1):
        assert [await _value(source, client) for _ in range(10)] == ["token-1"] * 10


async def test_an_expired_token_is_not_handed_out(
    source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """A minute before its end is too late to log in with it."""
    client = _client(server)
    await source.token(client)
    clock.now += 3540
    assert await _value(source, client) == "token-2"


async def test_a_good_token_outlives_an_outage_of_the_provider(
    source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """A renewal that fails is tried again every half minute, not for every mail."""
    client = _client(server)
    await source.token(client)
    server.answer(503)
    clock.now += 3000
    for _ in range(20):  # long enough for a failed renewal and the calls after it
        assert await _value(source, client) == "token-1"
        await asyncio.sleep(0.01)
    assert len(server.requests) == 2
    clock.now += 30
    server.forget_script()
    await _until_renewed(source, client)


async def test_a_refused_token_is_replaced_once(source: TokenSource, server: TokenServer) -> None:
    """Ten sessions may report the same token; one request is enough."""
    client = _client(server)
    token = await source.token(client)
    newer = await asyncio.gather(*(source.renewed(client, token) for _ in range(10)))
    assert {other.value.get_secret_value() for other in newer} == {"token-2"}
    assert await _value(source, client) == "token-2"


async def test_a_token_is_replaced_at_most_once_a_minute(
    source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """A mailbox without permission does not make the token of all the others be fetched again and again."""
    client = _client(server)
    newer = await source.renewed(client, await source.token(client))
    assert await source.renewed(client, newer) is newer
    clock.now += 61
    assert (await source.renewed(client, newer)).value.get_secret_value() == "token-3"


async def test_a_replacement_that_fails_leaves_the_old_token(source: TokenSource, server: TokenServer) -> None:
    """The others go on with it."""
    client = _client(server)
    token = await source.token(client)
    server.answer(503)
    with pytest.raises(TransientError):
        await source.renewed(client, token)
    assert await source.token(client) is token


@pytest.mark.parametrize(
    ("beside", "lifetime"),
    [
        ({"error": None}, 3600),
        ({"error": ""}, 3600),
        ({"error": None, "error_codes": None, "trace_id": None, "expires_in": None}, 3600),
        ({"expires_in": "1800"}, 1800),
        ({"expires_in": 1800.5}, 1800.5),
        ({"expires_in": "soon"}, 3600),
        ({"expires_in": [1]}, 3600),
        ({"expires_in": float("inf")}, 3600),
        ({"error_codes": "none", "trace_id": {"a": 1}}, 3600),
    ],
    ids=str,
)
async def test_odd_fields_beside_a_token_decide_nothing(
    beside: dict[str, Any], lifetime: float, source: TokenSource, server: TokenServer
) -> None:
    """A lifetime may come as text; what cannot be read counts as left out."""
    server.answer(200, {"access_token": "odd", **beside})
    token = await source.token(_client(server))
    assert token.value.get_secret_value() == "odd"
    assert token.expires_at == 1000.0 + lifetime


@pytest.mark.parametrize(
    "beside", [{"error_codes": "7000215"}, {"error_codes": [None]}, {"trace_id": 7}], ids=str
)
async def test_odd_fields_beside_an_error_decide_nothing(
    beside: dict[str, Any], source: TokenSource, server: TokenServer
) -> None:
    """It is the client that is refused, not the endpoint that is wrong."""
    server.answer(401, {"error": "invalid_client", "access_token": None, **beside})
    error = await _error(source, _client(server))
    assert isinstance(error, PermanentError)
    assert (error.reason, error.detail) == (Reason.OAUTH2_CLIENT_REFUSED, "HTTP 401 invalid_client")


@pytest.mark.parametrize(("expires_in", "shown"), [(0, "0"), (-1, "-1"), ("0", "0"), (-3600.0, "-3600")])
async def test_a_token_that_has_expired_is_none(
    expires_in: float | str, shown: str, source: TokenSource, server: TokenServer
) -> None:
    """Nobody can log in with it, and the next may be good."""
    server.answer(200, {"access_token": "old", "expires_in": expires_in}, times=1)
    error = await _error(source, _client(server))
    assert isinstance(error, TransientError)
    assert (error.reason, error.scope) == (Reason.TOKEN_UNAVAILABLE, Scope.LOGIN)
    assert error.detail == f"HTTP 200 with a token that has expired (expires_in {shown})"
    assert await _value(source, _client(server)) == "token-1"


async def test_a_web_page_instead_of_a_token_is_said(source: TokenSource, server: TokenServer) -> None:
    """The page of a guest network may pass; a wrong address is seen by it."""
    server.answer(200, b"<html>Log in</html>", headers={"Content-Type": "text/html; charset=utf-8"}, times=1)
    error = await _error(source, _client(server))
    assert isinstance(error, TransientError)
    assert error.detail == "HTTP 200 without an OAuth2 error or token, but with text/html"
    assert await _value(source, _client(server)) == "token-1"


def _entra(error: str, *numbers: int) -> dict[str, Any]:
    return {**ENTRA_REFUSAL, "error": error, "error_codes": list(numbers)}


CLIENT, SCOPE = Reason.OAUTH2_CLIENT_REFUSED, Reason.OAUTH2_SCOPE_REFUSED
REFUSALS: Final = [
    (401, _entra("invalid_client", 7000215), CLIENT),
    (401, _entra("invalid_client", 7000222), CLIENT),
    (400, _entra("unauthorized_client", 700016), CLIENT),
    (400, _entra("invalid_request", 90002), CLIENT),
    (400, _entra("invalid_grant", 50001), CLIENT),
    (400, _entra("access_denied", 53003), CLIENT),
    (400, _entra("interaction_required", 530032), CLIENT),
    (400, _entra("something_new"), CLIENT),
    (200, _entra("incorrect_client_credentials"), CLIENT),
    (400, _entra("invalid_scope", 1002012), SCOPE),
    (400, _entra("invalid_resource", 500011), SCOPE),
]


@pytest.mark.parametrize(("status", "body", "reason"), REFUSALS, ids=lambda value: str(value)[:40])
async def test_a_refusal_is_told_by_its_error(
    status: int, body: dict[str, Any], reason: Reason, source: TokenSource, server: TokenServer
) -> None:
    """The AADSTS numbers are shown, and never decide: Microsoft changes them."""
    server.answer(status, body)
    error = await _error(source, _client(server))
    assert isinstance(error, PermanentError)
    numbers = "".join(f" AADSTS{number}" for number in body["error_codes"])
    trace = ENTRA_REFUSAL["trace_id"]
    assert (error.reason, error.detail) == (
        reason,
        f"HTTP {status} {body['error']}{numbers} trace_id {trace}",
    )
    assert error.settings


@pytest.mark.parametrize("body", [b"<html>Not found</html>", b"", b"[]", b'{"error": "\\u0007 <b>"}', b"\xff"])
@pytest.mark.parametrize("status", [302, 400, 404, 405])
async def test_what_is_no_token_endpoint_is_told_apart(
    status: int, body: bytes, source: TokenSource, server: TokenServer
) -> None:
    """A wrong URL or tenant; a redirect is not followed, since it would carry the secret away."""
    server.answer(status, body, headers={"Location": server.url("/elsewhere")})
    error = await _error(source, _client(server))
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.OAUTH2_CLIENT_REFUSED
    assert error.settings == ("EmailSmtpOAuth2AzureTenantId", "EmailSmtpOAuth2TokenEndpoint")
    assert error.detail == f"HTTP {status} without an OAuth2 error or token"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, _entra("invalid_request", 90055)),
        (408, {}),
        (500, {}),
        (503, _entra("temporarily_unavailable", 90033)),
        (400, _entra("temporarily_unavailable", 90006)),
        (200, {"token_type": "Bearer"}),
        (200, b"<html>Please log in to the guest network</html>"),
        (200, {"access_token": "x", "expires_in": -1}),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_may_pass_is_transient(
    status: int, body: dict[str, Any] | bytes, source: TokenSource, server: TokenServer
) -> None:
    """Nobody's settings are at fault, so the mail waits, and the next one asks again."""
    server.answer(status, body, times=1)
    error = await _error(source, _client(server))
    assert isinstance(error, TransientError)
    assert (error.reason, error.scope) == (Reason.TOKEN_UNAVAILABLE, Scope.LOGIN)
    assert await _value(source, _client(server)) == "token-1"


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_honoured(
    form: str, source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """Entra asks for 60 seconds; until then every mail is answered from memory."""
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.answer(429, headers={"Retry-After": "60" if form == "seconds" else moment}, times=1)
    error = await _error(source, _client(server))
    assert isinstance(error, TransientError)
    assert error.retry_after == pytest.approx(60, abs=2)
    clock.now += 20
    error = await _error(source, _client(server))
    assert isinstance(error, TransientError)
    assert error.retry_after == pytest.approx(40, abs=2)
    assert len(server.requests) == 1
    clock.now += 40
    assert await _value(source, _client(server)) == "token-1"


@pytest.mark.parametrize("value", ["soon", "-5", "", "1e9", "9" * 30])
async def test_a_strange_retry_after_does_no_harm(value: str, source: TokenSource, server: TokenServer) -> None:
    """No more than an hour is believed."""
    server.answer(503, headers={"Retry-After": value})
    error = await _error(source, _client(server))
    assert isinstance(error, TransientError)
    assert error.retry_after in {None, 3600.0}


async def test_a_refused_client_is_not_asked_for_again_for_a_minute(
    source: TokenSource, server: TokenServer, clock: Clock
) -> None:
    """A wrong secret makes one request a minute, not one for each mail."""
    client = _client(server, secret="wrong")
    errors = [await _error(source, client) for _ in range(100)]
    assert {(error.reason, error.detail, error.hint) for error in errors} == {
        (errors[0].reason, errors[0].detail, errors[0].hint)
    }
    assert len(server.requests) == 1
    clock.now += 60
    server.clients = {"app": "wrong"}
    assert await _value(source, client) == "token-1"


async def test_a_secret_that_looks_like_its_id_is_pointed_out(source: TokenSource, server: TokenServer) -> None:
    """The commonest mistake: the portal shows the secret's ID beside its Value."""
    error = await _error(source, _client(server, secret="2b1e0f7a-6c1d-4c57-9c6e-0d7b5c1a2f3e"))
    assert "looks like the secret's ID" in error.hint
    assert "looks like" not in (await _error(source, _client(server, secret="x"))).hint


async def test_no_secret_and_no_body_is_in_an_error(source: TokenSource, server: TokenServer) -> None:
    """What an identity provider says may repeat what it was sent."""
    for status in (400, 503):
        server.answer(status, {"error": "invalid_client", "error_description": f"{SECRET} tok3n"}, times=1)
        error = await _error(source, _client(server, scope=str(status)))
        assert SECRET not in f"{error} {error!r} {error.hint}"
        assert "tok3n" not in str(error)


async def test_an_endpoint_that_cannot_be_reached_is_transient(
    source: TokenSource, server: TokenServer, tls: ssl.SSLContext
) -> None:
    """Down, silent, or with a certificate that is not trusted (SSL_CERT_FILE): all of it may pass."""
    client = _client(server)
    strange = await _error(TokenSource(ssl.create_default_context()), client)
    assert "certificate" in strange.detail.lower()
    server.answer(200, delay=5, times=1)
    late = await _error(TokenSource(tls, timeout=0.2), client)
    assert late.detail == "no answer within 0.2 seconds"
    await server.stop()
    down = await _error(source, client)
    for error in (strange, late, down):
        assert isinstance(error, TransientError)
        assert (error.reason, error.scope) == (Reason.TOKEN_UNAVAILABLE, Scope.LOGIN)


async def test_an_endpoint_that_is_no_url_is_a_configuration_fault(source: TokenSource) -> None:
    """What the plan let pass, httpx may still refuse."""
    client = OAuth2("cms@example.com", "app", SecretStr(SECRET), "https://exa\x00mple/", "")
    error = await _error(source, client)
    assert isinstance(error, PermanentError)
    assert error.reason is Reason.OAUTH2_ENDPOINT_NOT_HTTPS


async def test_closing_gives_up_the_request_under_way(tls: ssl.SSLContext, server: TokenServer) -> None:
    """Draining does not wait for an identity provider."""
    server.answer(200, delay=60)
    source = TokenSource(tls)
    waiting = asyncio.create_task(source.token(_client(server)))
    async with asyncio.timeout(5):
        await server.asked.wait()
        await source.close()
    await asyncio.wait([waiting])
    assert waiting.cancelled()


def test_a_token_does_not_show_itself() -> None:
    """Tokens may end up in a log."""
    assert "eyJ" not in repr(Token.lasting(60, SecretStr("eyJ0"), 0))
