"""A TCP proxy on loopback whose connections a test can cut, or let fall silent, at any moment."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

Listener = Callable[[bytes], None]
"""Is given what passes in one direction, as it comes."""


class TcpProxy:
    """Forwards a port of its own to `host:port`; `connections` counts all there have been."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._silenced: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        if self._server:
            self._server.close()

    def cut(self) -> None:
        """Resets every connection, as a router that forgets its state does."""
        for writer in self._writers | self._silenced:
            writer.transport.abort()

    def silence(self) -> None:
        """On the connections there are nothing passes any more, not even their end; new ones are served."""
        self._silenced |= self._writers

    def listeners(self) -> tuple[Listener, Listener]:
        """For what the client of a new connection says, and for what its server says; a subclass may listen."""
        return _deaf, _deaf

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        ends = {writer}
        self._writers |= ends
        with suppress(OSError):
            there_reader, there_writer = await asyncio.open_connection(*self._target)
            ends.add(there_writer)
            self._writers |= ends
            client, server = self.listeners()
            await asyncio.gather(
                self._pump(reader, there_writer, client), self._pump(there_reader, writer, server)
            )
        self._end(*ends)
        self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: Listener) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if writer not in self._silenced:
                    heard(data)
                    writer.write(data)
                    await writer.drain()
        self._end(writer)

    def _end(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            if writer not in self._silenced:
                writer.transport.abort()


def _deaf(_data: bytes) -> None:
    """Listens to nothing."""
