"""A proxy before an SMTP server that follows the dialogue, and lets it go wrong at the points a test names.

    async with FaultyProxy(server.host, server.port) as proxy:
        proxy.fail(Point.MAIL, Way.RESET, times=3, skip=2)
        proxy.fail(Point.DOT, Way.CLOSE, to="ann@example.org")
        proxy.dawdle(Random(7))
        ...                                 # let something send to 127.0.0.1, proxy.port
        assert proxy.failed == [Point.MAIL, Point.MAIL, Point.MAIL]

At a point the server has heard what the point is named after and nothing more, and its reply has come as far as
here: the client never hears it. Only amid a message nothing is owed to the client: its 354 has come through.
The dialogue has to be in plain text, and may be pipelined.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from types import TracebackType
from typing import Final, Self

BUFFER_BYTES: Final = 16 * 1024
SEGMENT_BYTES: Final = 1460
"""As on a network: over mere loopback, several megabytes are handed over before the first byte was read."""

LONGEST_BIT_BYTES: Final = 200
LONGEST_PAUSE_SECONDS: Final = 0.002


class Point(StrEnum):
    """Where a dialogue can fail. `CONTENT` is so many bytes into a message, `DOT` its end."""

    CONNECT = "CONNECT"
    EHLO = "EHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "CONTENT"
    DOT = "DOT"


class Way(StrEnum):
    """How. In silence the connection stays, and nothing passes any more."""

    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"


@dataclass(slots=True)
class Failure:
    """One line of the script."""

    point: Point
    way: Way
    to: str
    times: int | None
    skip: int

    def fits(self, point: Point, recipient: str) -> bool:
        """Whether it is this one's turn; counts it if so."""
        if self.point is not point or self.times == 0 or self.to not in ("", recipient):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class FaultyProxy:
    """Forwards a port of its own to `host:port`.

    `connections` counts all there have been, `failed` has the points at which one of them ended. A message
    counts as begun after `content_bytes`.
    """

    host: str
    port_behind: int
    content_bytes: int = 1000
    port: int = 0
    connections: int = 0
    failed: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._script: list[Failure] = []
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._chance: Random | None = None

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        self._server = await asyncio.start_server(self._serve, sock=listening, limit=BUFFER_BYTES)
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server:
            self._server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def fail(self, point: Point, way: Way, *, to: str = "", times: int | None = None, skip: int = 0) -> None:
        """At `point` ends the connection in that `way`.

        `to` limits it to mails for that address, `times` to so many times after `skip` times without.
        """
        self._script.append(Failure(point, way, to, times, skip))

    def dawdle(self, chance: Random) -> None:
        """From now on everything passes in bits of a few bytes, with a pause before each."""
        self._chance = chance

    def forget_script(self) -> None:
        """From now on everything passes again."""
        self._script.clear()
        self._chance = None

    async def _serve(self, here: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        self.connections += 1
        try:
            # Either side may vanish at any moment, and the proxy's end cancels what is still there.
            with suppress(OSError, asyncio.CancelledError):
                await self._carry(here, client)
        finally:
            self._serving.discard(task)
            client.transport.abort()

    async def _carry(self, here: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        dialogue = Dialogue(self.content_bytes)
        if failure := self._next(Point.CONNECT, dialogue):
            return await _end(failure.way, client)
        there, server = await asyncio.open_connection(self.host, self.port_behind, limit=BUFFER_BYTES)
        try:
            if failure := await self._until_failure(dialogue, here, client, there, server):
                await _end(failure.way, client)
        finally:
            server.transport.abort()

    async def _until_failure(
        self,
        dialogue: "Dialogue",
        here: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> Failure | None:
        """Lets both sides talk; returns when it is time to fail, or None when one of them has hung up."""
        listening = asyncio.create_task(self._pass_replies(dialogue, there, client))
        talking = asyncio.create_task(self._pass_commands(dialogue, here, server))
        try:
            await asyncio.wait({listening, talking}, return_when=asyncio.FIRST_COMPLETED)
            failure = talking.result() if talking.done() else None
            if failure and failure.point is not Point.CONTENT:
                await listening
            return failure
        finally:
            listening.cancel()
            talking.cancel()
            await asyncio.gather(listening, talking, return_exceptions=True)

    async def _pass_commands(
        self, dialogue: "Dialogue", here: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> Failure | None:
        while data := await here.read(BUFFER_BYTES):
            for part, point in dialogue.said(data):
                failure = self._next(point, dialogue) if point else None
                dialogue.is_over = failure is not None
                await self._pass(part, server)
                if failure:
                    return failure
        return None

    async def _pass_replies(
        self, dialogue: "Dialogue", there: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        while line := await there.readline():
            dialogue.replied(line)
            if dialogue.is_over and dialogue.unanswered <= 0:
                return
            await self._pass(line, client)

    def _next(self, point: Point, dialogue: "Dialogue") -> Failure | None:
        failure = next((line for line in self._script if line.fits(point, dialogue.recipient)), None)
        if failure:
            self.failed.append(point)
        return failure

    async def _pass(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for bit in _bits(data, self._chance):
            if self._chance:
                await asyncio.sleep(self._chance.uniform(0, LONGEST_PAUSE_SECONDS))
            writer.write(bit)
            await writer.drain()


class Dialogue:
    """How far the client of one connection has come; `unanswered` is how many replies it waits for."""

    def __init__(self, content_bytes: int) -> None:
        self.recipient = ""
        self.unanswered = 1  # the greeting
        self.is_over = False
        self._content_bytes = content_bytes
        self._said = bytearray()
        self._content: int | None = None

    def said(self, data: bytes) -> Iterator[tuple[bytes, Point | None]]:
        """What the client said, in parts that end where a point is reached, and which point that is."""
        self._said += data
        part = bytearray()
        while end := self._said.find(b"\n") + 1:
            line = bytes(self._said[:end])
            del self._said[:end]
            part += line
            if point := self._point(line):
                yield bytes(part), point
                part.clear()
        yield bytes(part), None

    def replied(self, line: bytes) -> None:
        """Takes a line of the server's."""
        if line[3:4] != b"-":
            self.unanswered -= 1
        if line.startswith(b"354"):
            self._content = 0

    def _point(self, line: bytes) -> Point | None:
        if self._content is not None:
            return self._point_in_content(line)
        self.unanswered += 1
        verb = line[:4].upper().decode(errors="replace")
        if verb == Point.RCPT:
            self.recipient = line.partition(b"<")[2].partition(b">")[0].decode(errors="replace")
        return Point(verb) if verb in _COMMANDS else None

    def _point_in_content(self, line: bytes) -> Point | None:
        assert self._content is not None
        if line == b".\r\n":
            self.unanswered += 1
            self._content = None
            return Point.DOT
        before, self._content = self._content, self._content + len(line)
        return Point.CONTENT if before < self._content_bytes <= self._content else None


_COMMANDS: Final = frozenset({Point.EHLO, Point.MAIL, Point.RCPT, Point.DATA})


def _bits(data: bytes, chance: Random | None) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        size = chance.randint(1, LONGEST_BIT_BYTES) if chance else len(data)
        yield data[start : start + size]
        start += size


async def _end(way: Way, client: asyncio.StreamWriter) -> None:
    match way:
        case Way.RESET:
            linger_not_at_all = struct.pack("ii", 1, 0)
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not_at_all)
            client.transport.abort()
        case Way.CLOSE:
            client.close()
        case Way.SILENCE:
            await asyncio.Event().wait()
