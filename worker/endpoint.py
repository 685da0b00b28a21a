"""A small HTTP endpoint for probes and Prometheus: one short answer a connection, and nothing else.

It is open to whoever reaches it, so what it reads and how long it waits is bounded, and nothing that it says
may be secret.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11
import structlog

from contracts.signals import Action

REQUEST_BYTES: Final = 8 * 1024
REQUEST_SECONDS: Final = 5.0
MOST_CONNECTIONS: Final = 16
BIND_AGAIN_SECONDS: Final = 30.0
TEXT: Final = "text/plain; charset=utf-8"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a request."""

    status: HTTPStatus
    body: bytes
    media_type: str = TEXT

    @classmethod
    def of(cls, faults: list[str]) -> "Answer":
        """200 without faults, 503 with them, a sentence a line."""
        status = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
        return cls(status, "".join(f"{line}\n" for line in faults or ["ok"]).encode())


Page = Callable[[str], Answer]
"""Makes an answer; it is given the header `Accept`."""


class Endpoint:
    """Serves `pages`, by their paths, at `host` and `port`."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        self._host = host
        self._port = port
        self._pages = pages
        self._connections = 0

    async def run(self) -> None:
        """Serves until cancelled. While another program has the port it says so once, and tries again."""
        said = False
        while True:
            try:
                server = await asyncio.start_server(
                    self._serve, self._host, self._port, limit=REQUEST_BYTES, reuse_address=True
                )
            except OSError as error:
                self._say(error, again=said)
                said = True
                await asyncio.sleep(BIND_AGAIN_SECONDS)
            else:
                async with server:
                    await server.serve_forever()

    def _say(self, error: OSError, *, again: bool) -> None:
        if not again:
            log.warning(
                "NOTIFY_HEALTH_ADDRESS cannot be served, so mail goes on without probes and metrics: set it to "
                "another host:port, or to nothing",
                action=Action.HEALTH,
                address=f"{self._host}:{self._port}",
                error=error.strerror or type(error).__name__,
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MOST_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    writer.write(self._said(*await _heard(reader)))
                    await writer.drain()
        except (OSError, TimeoutError):
            pass  # whoever asked is gone, or too slow
        finally:
            self._connections -= 1
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(REQUEST_SECONDS):
                    await writer.wait_closed()

    def _said(self, connection: h11.Connection, request: h11.Request | None) -> bytes:
        answer = self._answer(request) if request else Answer(HTTPStatus.BAD_REQUEST, b"no HTTP request\n")
        headers = [
            ("Content-Type", answer.media_type),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return b""  # hung up, and nobody hears it
        said = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        if request is not None and request.method == b"HEAD":
            return said
        return said + (connection.send(h11.Data(data=answer.body)) or b"")

    def _answer(self, request: h11.Request) -> Answer:
        path = request.target.decode("ascii", "replace").partition("?")[0]
        page = self._pages.get(path)
        if page is None:
            return Answer(HTTPStatus.NOT_FOUND, f"there is {', '.join(self._pages)}\n".encode())
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"GET or HEAD\n")
        accepted = dict(request.headers).get(b"accept", b"")
        return page(accepted.decode("ascii", "replace"))


async def _heard(reader: asyncio.StreamReader) -> tuple[h11.Connection, h11.Request | None]:
    """The request's head, None where it is none; what may follow it is not read."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_BYTES)
    try:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(REQUEST_BYTES))
    except h11.RemoteProtocolError:
        return connection, None
    return connection, event if isinstance(event, h11.Request) else None
