"""The endpoint over real sockets, asked by whoever can reach it."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ports import closed_port
from worker import endpoint
from worker.endpoint import MOST_CONNECTIONS, REQUEST_BYTES, Answer, Endpoint

PAGES = {
    "/livez": lambda _: Answer.of([]),
    "/readyz": lambda _: Answer.of(["one fault", "another"]),
    "/metrics": lambda accept: Answer(HTTPStatus.OK, accept.encode(), "text/metrics"),
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where an endpoint serves."""
    number = closed_port()
    serving = asyncio.create_task(Endpoint("127.0.0.1", number, PAGES).run())
    await _served(number)
    yield number
    serving.cancel()
    await asyncio.wait({serving})


async def _served(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0)
            else:
                return writer.close()


async def said(port: int, request: bytes) -> bytes:
    """All that is answered to some bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/livez", 200, "ok\n"),
        ("GET", "/livez?verbose", 200, "ok\n"),
        ("HEAD", "/livez", 200, ""),
        ("GET", "/readyz", 503, "one fault\nanother\n"),
        ("GET", "/metrics", 200, "text/plain"),
        ("POST", "/livez", 405, "GET or HEAD\n"),
        ("GET", "/", 404, "there is /livez, /readyz, /metrics\n"),
    ],
)
async def test_a_request_is_answered(port: int, method: str, path: str, status: int, text: str) -> None:
    """200 or 503, a sentence a line; other paths and methods are told apart."""
    async with httpx.AsyncClient() as http:
        response = await http.request(
            method, f"http://127.0.0.1:{port}{path}", headers={"Accept": "text/plain"}
        )
    assert (response.status_code, response.text) == (status, text)
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"x" * 2 * REQUEST_BYTES + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost",
        b"",
    ],
    ids=["nonsense", "too long", "cut off", "nothing"],
)
async def test_what_is_no_request_is_answered_in_kind(port: int, request_bytes: bytes) -> None:
    """And the next one is served."""
    answer = await said(port, request_bytes)
    assert not answer or answer.startswith(b"HTTP/1.1 400 ")
    assert (await said(port, b"GET /livez HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_only_so_many_are_served_at_a_time(port: int) -> None:
    """Others are hung up on, so that nobody can fill the memory."""
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CONNECTIONS)]
    assert await said(port, b"GET /livez HTTP/1.0\r\n\r\n") == b""
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(5):
        while not await said(port, b"GET /livez HTTP/1.0\r\n\r\n"):
            pass


async def test_who_says_nothing_is_hung_up_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few seconds."""
    monkeypatch.setattr(endpoint, "REQUEST_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_bytes_end_it(request_bytes: bytes) -> None:
    """Whatever is sent is answered or hung up on."""

    async def ask() -> bytes:
        number = closed_port()
        serving = asyncio.create_task(Endpoint("127.0.0.1", number, PAGES).run())
        await _served(number)
        await said(number, request_bytes)
        answer = await said(number, b"GET /livez HTTP/1.0\r\n\r\n")
        serving.cancel()
        await asyncio.wait({serving})
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200 ")
