"""A TCP proxy before a broker that reads what passes: what was delivered, again, and is not settled yet."""

from collections.abc import Callable, Iterator
from typing import Final

from pamqp import commands, frame
from yarl import URL

from tests.support.tcp_proxy import Listener, TcpProxy

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
HEADER_BYTES: Final = 7
END_BYTES: Final = 1
METHOD: Final = 1
BASIC: Final = (60).to_bytes(2, "big")

Tag = tuple[int, int]
"""Channel and delivery tag: names a delivery within its connection."""


class AmqpProxy(TcpProxy):
    """Before the broker at `url`; `delivered` counts its deliveries, `redelivered` those marked as such."""

    def __init__(self, url: str) -> None:
        broker = URL(url)
        super().__init__(broker.host or "", broker.port or 0)
        self._broker = broker
        self._unsettled: list[set[Tag]] = []
        self.delivered = 0
        self.redelivered = 0

    @property
    def url(self) -> str:
        """Where a worker connects instead."""
        return str(self._broker.with_port(self.port))

    @property
    def in_flight(self) -> int:
        """How many deliveries are neither acknowledged nor given back, as far as has passed here."""
        return sum(map(len, self._unsettled))

    def cut(self) -> None:
        """Cuts every connection; the broker has back what was in flight."""
        super().cut()
        self._unsettled.clear()

    def silence(self) -> None:
        """Lets every connection fall silent; what was in flight stays so for the broker until it notices."""
        super().silence()
        self._unsettled.clear()

    def listeners(self) -> tuple[Listener, Listener]:
        """For what a new connection's client says, and for what its broker says."""
        unsettled: set[Tag] = set()
        self._unsettled.append(unsettled)

        def delivered(channel: int, method: frame.FrameTypes) -> None:
            if isinstance(method, commands.Basic.Deliver):
                self.delivered += 1
                self.redelivered += bool(method.redelivered)
                unsettled.add((channel, method.delivery_tag or 0))

        def settled(channel: int, method: frame.FrameTypes) -> None:
            if isinstance(method, commands.Basic.Ack | commands.Basic.Nack | commands.Basic.Reject):
                unsettled.difference_update(_named(unsettled, channel, method))

        return _reading(settled), _reading(delivered)


def _named(
    unsettled: set[Tag], channel: int, method: commands.Basic.Ack | commands.Basic.Nack | commands.Basic.Reject
) -> set[Tag]:
    """The deliveries that `method` settles."""
    tag = method.delivery_tag or 0
    if getattr(method, "multiple", False):
        return {(at, until) for at, until in unsettled if at == channel and until <= tag}
    return {(channel, tag)}


def _reading(heed: Callable[[int, frame.FrameTypes], None]) -> Listener:
    stream = bytearray()

    def heard(data: bytes) -> None:
        stream.extend(data)
        for channel, method in _basic_methods(stream):
            heed(channel, method)

    return heard


def _basic_methods(stream: bytearray) -> Iterator[tuple[int, frame.FrameTypes]]:
    """Takes all whole frames off `stream`; the methods of class basic among them, with their channels."""
    if stream.startswith(PROTOCOL_HEADER):
        del stream[: len(PROTOCOL_HEADER)]
    while (size := _frame_size(stream)) <= len(stream):
        if stream[0] == METHOD and stream.startswith(BASIC, HEADER_BYTES):
            _, channel, method = frame.unmarshal(bytes(stream[:size]))
            yield channel, method
        del stream[:size]


def _frame_size(stream: bytearray) -> int:
    """Of the first frame; larger than `stream` while its header is not complete."""
    return HEADER_BYTES + int.from_bytes(stream[3:HEADER_BYTES], "big") + END_BYTES
