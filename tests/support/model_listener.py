"""The model server on a loopback port, with or without TLS: every fault at every reply, over real sockets."""

import asyncio
import ssl
from contextlib import suppress
from itertools import cycle
from types import TracebackType
from typing import Final, Self

from tests.support.smtp_model import ModelServer

HELLO: Final = b"250-model.invalid\r\n250-STARTTLS\r\n250 PIPELINING\r\n"
AT_ONCE: Final = 1 << 16


class ModelListener:
    """Greets, encrypts as it is asked to, and then lets `model` speak, in pieces of `sizes` bytes."""

    def __init__(
        self,
        model: ModelServer,
        *sizes: int,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        pause_seconds: float = 0.0,
        hello: bytes = HELLO,
    ) -> None:
        self._model = model
        self._sizes = cycle(sizes or (AT_ONCE,))
        self._tls = tls
        self._implicit = implicit
        self._pause_seconds = pause_seconds
        self._hello = hello
        self._server: asyncio.Server | None = None
        self._served: set[asyncio.Task[None]] = set()
        self.host = "127.0.0.1"
        self.port = 0

    async def __aenter__(self) -> Self:
        tls = self._tls if self._implicit else None
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._served:
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)
        if self._server:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._served.add(task)
        try:
            with suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await self._open(reader, writer)
                await self._converse(reader, writer)
        finally:
            self._served.discard(task)
            writer.transport.abort()

    async def _open(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 model.invalid ESMTP\r\n")
        await reader.readline()
        writer.write(self._hello)
        if self._tls is not None and not self._implicit:
            await reader.readline()
            writer.write(b"220 Go ahead\r\n")
            await writer.start_tls(self._tls)
            await reader.readline()
            writer.write(self._hello)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(AT_ONCE):
            self._model.hear(data)
            while self._model.out:
                size = next(self._sizes)
                writer.write(bytes(self._model.out[:size]))
                del self._model.out[:size]
                await writer.drain()
                await asyncio.sleep(self._pause_seconds)
            if self._model.closed:
                return
