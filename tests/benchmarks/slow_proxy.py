"""A TCP proxy that lets every byte arrive later, run as a process of its own so that its work is nobody's time.

    python -m tests.benchmarks.slow_proxy TARGET_PORT ROUND_TRIP_SECONDS

It prints its own port as its first line.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

HOST: Final = "127.0.0.1"


class Later(asyncio.Protocol):
    """One direction of a connection; what comes in is written to `other` half a round trip later, in order."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._early: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.other: Later | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Both ends are told by whoever made the connection."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Goes on in half a round trip."""
        self._loop.call_later(self._seconds, self._deliver, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end closes too, when all has arrived there."""
        del exc
        self._loop.call_later(self._seconds, self._end)

    def _deliver(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        else:
            self._early.append(data)

    def _end(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def meet(self, other: "Later") -> None:
        """From now on bytes go to `other`."""
        self.other, early, self._early = other, self._early, []
        for data in early:
            self._deliver(data)


async def serve(target_port: int, round_trip_seconds: float) -> None:
    """Listens until the process is ended."""
    loop = asyncio.get_running_loop()
    joining: set[asyncio.Task[None]] = set()

    async def join(near: Later) -> None:
        _, far = await loop.create_connection(lambda: Later(round_trip_seconds / 2), HOST, target_port)
        far.meet(near)
        near.meet(far)

    def accepted() -> Later:
        near = Later(round_trip_seconds / 2)
        task = loop.create_task(join(near))
        joining.add(task)
        task.add_done_callback(joining.discard)
        return near

    server = await loop.create_server(accepted, HOST, 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
