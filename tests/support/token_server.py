"""A scripted OAuth2 token endpoint over HTTPS: gives tokens, does as it is told, and remembers.

    async with TokenServer(certified(authority), clients={"app": "secret"}) as server:
        server.answer(429, {"error": "temporarily_unavailable"}, headers={"Retry-After": "60"}, times=1)
        ...                                 # let something post to server.url("/tenant/oauth2/v2.0/token")
        assert server.requests[0].form["scope"] == "mail.send"

Without a script a known client gets `token-1`, `token-2` and so on, an unknown one what Entra ID would say.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

ENTRA_REFUSAL: Mapping[str, Any] = {
    "error": "invalid_client",
    "error_description": "AADSTS7000215: Invalid client secret provided.",
    "error_codes": [7000215],
    "trace_id": "0d2f0f50-0000-4000-8000-000000000001",
    "correlation_id": "0d2f0f50-0000-4000-8000-000000000002",
}


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What a client posted."""

    path: str
    headers: Mapping[str, str]
    form: Mapping[str, str]


@dataclass(slots=True)
class Answer:
    """One line of the script."""

    status: int
    body: Mapping[str, Any] | bytes
    headers: Mapping[str, str]
    delay: float
    times: int | None


@dataclass
class TokenServer:
    """The endpoint. `clients` (id -> secret) and `lifetime` (seconds of a token) may change while it runs.

    `asked` is an event, set by every request.
    """

    tls: ssl.SSLContext
    host: str = "127.0.0.1"
    port: int = 0
    clients: Mapping[str, str] = field(default_factory=dict)
    lifetime: float = 3600
    requests: list[TokenRequest] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._script: list[Answer] = []
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens; a stopped server comes back at the same port."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stops listening and cuts every connection."""
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        if self._server:
            self._server.close()
            await self._server.wait_closed()

    def url(self, path: str = "/token") -> str:
        """The endpoint's address; any path will do."""
        return f"https://{self.host}:{self.port}{path}"

    def answer(
        self,
        status: int,
        body: Mapping[str, Any] | bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        times: int | None = None,
    ) -> None:
        """Gives this answer, `times` times or from now on; a mapping goes as JSON. Answers queue up."""
        self._script.append(Answer(status, body, headers or {}, delay, times))

    def forget_script(self) -> None:
        """From now on known clients get tokens again."""
        self._script.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._exchanges.add(task)
        try:
            # A client may vanish at any moment, and stop() ends an exchange by cancelling it.
            with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._exchange(reader, writer)
        finally:
            self._exchanges.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read(reader)
        self.requests.append(request)
        self.asked.set()
        answer = self._next_answer() or self._ordinary(request)
        await asyncio.sleep(answer.delay)
        writer.write(_written(answer))
        await writer.drain()

    def _next_answer(self) -> Answer | None:
        for answer in self._script:
            if answer.times != 0:
                answer.times = None if answer.times is None else answer.times - 1
                return answer
        return None

    def _ordinary(self, request: TokenRequest) -> Answer:
        client, secret = request.form.get("client_id", ""), request.form.get("client_secret")
        if secret is None or self.clients.get(client) != secret:
            return Answer(HTTPStatus.UNAUTHORIZED, ENTRA_REFUSAL, {}, 0.0, None)
        self.issued.append(f"token-{len(self.issued) + 1}")
        body = {"token_type": "Bearer", "expires_in": self.lifetime, "access_token": self.issued[-1]}
        return Answer(HTTPStatus.OK, body, {}, 0.0, None)


async def _read(reader: asyncio.StreamReader) -> TokenRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    return TokenRequest(head[0].split(" ")[1], headers, form)


def _written(answer: Answer) -> bytes:
    body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    head = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in {**head, **answer.headers}.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
