"""Ports that behave badly: no server software does these things when asked nicely."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

HOST: Final = "127.0.0.1"
ENOUGH: Final = 3


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def filtered_port() -> Iterator[int]:
    """A port whose packets are dropped, as by a firewall: its queue of new connections is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(ENOUGH):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port at which nothing listens."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
