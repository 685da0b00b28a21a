"""Tokens by the client credentials grant: fetched once for all who wait, renewed ahead, never shown.

A token serves every session of its client. While an old one is still good it is handed out, also when the
identity provider is down; a client that was refused is not asked for again for a minute.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import httpx
from opentelemetry.trace import SpanKind
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from contracts.dead_letter import Reason
from contracts.signals import Attribute
from contracts.signals import Span as SpanName
from worker import telemetry
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.plan import OAuth2

REFUSED_SECONDS: Final = 60.0
RENEWAL_PAUSE_SECONDS: Final = 30.0
RENEWAL_MARGIN_SECONDS: Final = 300.0
LAST_MOMENT_SECONDS: Final = 60.0
DEFAULT_LIFETIME_SECONDS: Final = 3600.0
LONGEST_RETRY_SECONDS: Final = 3600.0
FORCED_SECONDS: Final = 60.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and when it is to be renewed and ends, in monotonic seconds."""

    value: SecretStr
    renew_at: float
    expires_at: float

    @classmethod
    def lasting(cls, seconds: float, value: SecretStr, now: float) -> "Token":
        """A token to be renewed with five minutes or a fifth of its life left, but not in its first half."""
        margin = min(max(seconds / 5, RENEWAL_MARGIN_SECONDS), seconds / 2)
        return cls(value, now + seconds - margin, now + seconds)

    def is_good(self, now: float) -> bool:
        """Whether there is time left to log in with it."""
        return now < max(self.renew_at, self.expires_at - LAST_MOMENT_SECONDS)


class TokenSource:
    """Tokens for any number of OAuth2 clients, for use in one event loop.

    `tls` says which certificates of token endpoints are trusted; `timeout` is the seconds a request may take.
    """

    def __init__(self, tls: ssl.SSLContext, *, timeout: float = 30.0, clock: Clock = time.monotonic) -> None:
        self._tls = tls
        self._timeout = timeout
        self._clock = clock
        self._grants: dict[tuple[str, str, SecretStr, str], Grant] = {}

    async def token(self, client: OAuth2) -> Token:
        """A token that a session can log in with. Raises PermanentError or TransientError."""
        return await self._grant(client).token()

    async def renewed(self, client: OAuth2, token: Token) -> Token:
        """Another token than `token`, which a mail server refused; `token` itself if it was just renewed so.

        The old one stays for those it serves until there is a new one. Raises as `token` does.
        """
        return await self._grant(client).renewed(token)

    def expires_in(self) -> float | None:
        """Seconds until the first of the tokens ends; None without any."""
        ends = [grant.expires_at for grant in self._grants.values() if grant.expires_at is not None]
        return min(ends) - self._clock() if ends else None

    async def close(self) -> None:
        """Gives up the requests under way."""
        for grant in self._grants.values():
            await grant.close()

    def _grant(self, client: OAuth2) -> "Grant":
        key = client.token_endpoint, client.client_id, client.client_secret, client.scope
        if key not in self._grants:
            self._grants[key] = Grant(client, self._tls, self._timeout, self._clock)
        return self._grants[key]


class Grant:
    """What one client has: a token, a request under way, an error to remember."""

    def __init__(self, client: OAuth2, tls: ssl.SSLContext, timeout: float, clock: Clock) -> None:
        self._client = client
        self._tls = tls
        self._timeout = timeout
        self._clock = clock
        self._token: Token | None = None
        self._request: asyncio.Task[Token] | None = None
        self._error: PermanentError | TransientError | None = None
        self._quiet_until = 0.0
        self._renew_after = 0.0
        self._forced_until = 0.0

    @property
    def expires_at(self) -> float | None:
        """When its token ends, in monotonic seconds; None without one."""
        return self._token.expires_at if self._token else None

    async def token(self) -> Token:
        """The token there is, if it is good, else a new one. All who wait share one request."""
        now = self._clock()
        if self._token and self._token.is_good(now):
            if now >= max(self._token.renew_at, self._renew_after):
                self._ask()
            return self._token
        if self._error and now < self._quiet_until:
            raise _again(self._error, self._quiet_until - now)
        return await asyncio.shield(self._ask())

    async def renewed(self, token: Token) -> Token:
        """A newer token than `token`, fetched for that at most once a minute."""
        if self._token is not None and self._token is not token:
            return self._token
        if self._request is None and self._clock() < self._forced_until:
            return token
        self._forced_until = self._clock() + FORCED_SECONDS
        return await asyncio.shield(self._ask())

    async def close(self) -> None:
        """Cancels the request under way, if any."""
        if self._request:
            self._request.cancel()
            await asyncio.wait([self._request])

    def _ask(self) -> asyncio.Task[Token]:
        if self._request is None:
            self._request = asyncio.create_task(self._renew())
            # A renewal ahead of time has nobody who waits for its error.
            self._request.add_done_callback(lambda request: request.cancelled() or request.exception())
        return self._request

    async def _renew(self) -> Token:
        try:
            self._token = await request_token(self._client, self._tls, self._timeout, self._clock)
        except (PermanentError, TransientError) as fault:
            error = self._in_its_light(fault)
            self._remember(error)
            raise error from fault
        finally:
            self._request = None
        return self._token

    def _in_its_light(self, fault: PermanentError | TransientError) -> PermanentError | TransientError:
        """What gave tokens before is a token endpoint, whatever answers there during a redeployment."""
        if self._token is not None and fault.settings == _ENDPOINT_SETTINGS:
            return TransientError(Reason.TOKEN_UNAVAILABLE, fault.detail, scope=Scope.LOGIN)
        return fault

    def _remember(self, error: PermanentError | TransientError) -> None:
        wait = REFUSED_SECONDS if isinstance(error, PermanentError) else error.retry_after or 0.0
        now = self._clock()
        self._error = error
        self._quiet_until = now + wait
        self._renew_after = now + max(wait, RENEWAL_PAUSE_SECONDS)


async def request_token(client: OAuth2, tls: ssl.SSLContext, seconds: float, clock: Clock) -> Token:
    """One request at the token endpoint, within `seconds`. Raises PermanentError or TransientError."""
    asked_at = clock()
    with telemetry.span(SpanName.TOKEN, SpanKind.CLIENT, attributes=_place(client)):
        return await _asked_token(client, tls, seconds, asked_at)


def _place(client: OAuth2) -> dict[Attribute, str]:
    # Not the URL: what stands in its query, or before its host, may be a secret.
    host = ""
    with suppress(ValueError):
        host = urlsplit(client.token_endpoint).hostname or ""
    return {Attribute.HTTP_METHOD: "POST", Attribute.SERVER_ADDRESS: host}


async def _asked_token(client: OAuth2, tls: ssl.SSLContext, seconds: float, asked_at: float) -> Token:
    response = await _post(client, tls, seconds)
    telemetry.describe({Attribute.HTTP_STATUS_CODE: response.status_code})
    answer = _Answer.read(response.content)
    if not (response.is_success and answer.access_token and not answer.error):
        raise _refusal(client, response, answer)
    if answer.expires_in <= 0:
        detail = f"HTTP {response.status_code} with a token that has expired (expires_in {answer.expires_in:g})"
        raise TransientError(Reason.TOKEN_UNAVAILABLE, detail, scope=Scope.LOGIN)
    return Token.lasting(answer.expires_in, answer.access_token, asked_at)


class _Answer(BaseModel):
    """What a token endpoint says (RFC 6749 sections 5.1 and 5.2), with Microsoft Entra ID's additions.

    What stands beside the token or the error decides nothing, so odd values of it count as left out.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    access_token: SecretStr = SecretStr("")
    expires_in: Annotated[float, Field(allow_inf_nan=False)] = DEFAULT_LIFETIME_SECONDS
    error: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = ""
    error_codes: tuple[int, ...] = ()
    trace_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{0,64}$")] = ""

    @field_validator("access_token", "error", mode="before")
    @classmethod
    def _null_is_nothing(cls, value: Any) -> Any:
        return "" if value is None else value

    @field_validator("expires_in", "error_codes", "trace_id", mode="wrap")
    @classmethod
    def _odd_is_left_out(cls, value: Any, read: ValidatorFunctionWrapHandler, field: ValidationInfo) -> Any:
        try:
            return read(value)
        except ValidationError:
            return cls.model_fields[field.field_name or ""].default

    @classmethod
    def read(cls, content: bytes) -> "_Answer":
        """The answer in `content`, empty if it is none."""
        try:
            return cls.model_validate_json(content)
        except ValidationError:
            return cls()


async def _post(client: OAuth2, tls: ssl.SSLContext, seconds: float) -> httpx.Response:
    form = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": client.client_secret.get_secret_value(),
    }
    if client.scope:
        form["scope"] = client.scope
    try:
        async with asyncio.timeout(seconds), httpx.AsyncClient(verify=tls, timeout=seconds) as http:
            return await http.post(client.token_endpoint, data=form, headers={"Accept": "application/json"})
    except (TimeoutError, httpx.TimeoutException) as late:
        detail = f"no answer within {seconds:g} seconds"
        raise TransientError(Reason.TOKEN_UNAVAILABLE, detail, scope=Scope.LOGIN) from late
    except httpx.RequestError as fault:
        raise TransientError(Reason.TOKEN_UNAVAILABLE, str(fault), scope=Scope.LOGIN) from fault
    except httpx.InvalidURL as fault:
        raise PermanentError(Reason.OAUTH2_ENDPOINT_NOT_HTTPS, str(fault)) from fault


def _refusal(client: OAuth2, response: httpx.Response, answer: _Answer) -> PermanentError | TransientError:
    """Goes by `error` and the HTTP status. The AADSTS numbers are for people: Microsoft may change them."""
    detail = " ".join(_particulars(response, answer))
    if _is_passing(response, answer):
        return TransientError(
            Reason.TOKEN_UNAVAILABLE, detail, scope=Scope.LOGIN, retry_after=_retry_after(response)
        )
    if answer.error in _SCOPE_ERRORS:
        return PermanentError(Reason.OAUTH2_SCOPE_REFUSED, detail)
    if not answer.error:
        return PermanentError(
            Reason.OAUTH2_CLIENT_REFUSED, detail, settings=_ENDPOINT_SETTINGS, hint=_ENDPOINT_HINT
        )
    looks_like_id = answer.error == "invalid_client" and _GUID.fullmatch(
        client.client_secret.get_secret_value()
    )
    return PermanentError(Reason.OAUTH2_CLIENT_REFUSED, detail, hint=_GUID_HINT if looks_like_id else "")


def _is_passing(response: httpx.Response, answer: _Answer) -> bool:
    nothing_said = response.is_success and not answer.error
    return (
        nothing_said
        or response.is_server_error
        or response.status_code in _PASSING_STATUSES
        or answer.error in _PASSING_ERRORS
    )


def _particulars(response: httpx.Response, answer: _Answer) -> list[str]:
    numbers = [f"AADSTS{number}" for number in answer.error_codes]
    trace = [f"trace_id {answer.trace_id}"] if answer.trace_id else []
    return [
        f"HTTP {response.status_code}",
        answer.error or f"without an OAuth2 error or token{_instead(response)}",
        *numbers,
        *trace,
    ]


def _instead(response: httpx.Response) -> str:
    media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return f", but with {media_type}" if media_type in _WEB_PAGES else ""


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds from the header Retry-After, which holds seconds or a date; an hour at most."""
    value = response.headers.get("Retry-After", "")
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return min(float(value), LONGEST_RETRY_SECONDS) if value.isdecimal() else None
    seconds = (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_SECONDS)


def _again(error: PermanentError | TransientError, seconds: float) -> PermanentError | TransientError:
    """`error` anew for the next who asks, since an exception collects the tracebacks of all who raise it."""
    if isinstance(error, TransientError):
        return TransientError(error.reason, error.detail, scope=error.scope, retry_after=seconds)
    return PermanentError(error.reason, error.detail, settings=error.settings, hint=error.hint)


_WEB_PAGES: Final = {"text/html", "application/xhtml+xml"}
_PASSING_STATUSES: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_PASSING_ERRORS: Final = {"temporarily_unavailable", "server_error"}
_SCOPE_ERRORS: Final = {"invalid_scope", "invalid_resource", "invalid_target"}
_GUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_GUID_HINT: Final = (
    "EmailSmtpOAuth2ClientSecret looks like the secret's ID: paste the secret's Value, "
    "which is shown only once, when it is created."
)
_ENDPOINT_SETTINGS: Final = ("EmailSmtpOAuth2AzureTenantId", "EmailSmtpOAuth2TokenEndpoint")
_ENDPOINT_HINT: Final = (
    "What answers there is no token endpoint: check the tenant ID, or the URL of EmailSmtpOAuth2TokenEndpoint."
)
