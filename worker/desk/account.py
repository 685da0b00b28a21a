"""What the stream of copies says is in the dead queues: letters in, notes of removal out, counted by queue.

Pure. Where a queue holds just so many messages as are counted here, these are they: each of its messages has
its copy in the stream, unless another tool put it there or the copy is older than the stream keeps, and then
the counts differ.
"""

from collections import Counter
from collections.abc import Callable

from aio_pika.abc import AbstractIncomingMessage

from contracts.topology import DEAD_QUEUES, dead_exchange, dead_queue, dead_queue_of
from worker.desk.letter import UNROUTABLE, Letter
from worker.desk.removal import Removal

_CLASSES = frozenset(key.partition(".")[0] for keys in DEAD_QUEUES.values() for key in keys)


class Account:
    """Letters of the stream under `prefix`, as far as it was read. Bodies stay where `keeps_body` says so."""

    def __init__(self, prefix: str, keeps_body: Callable[[Letter], bool]) -> None:
        self._prefix = prefix
        self._keeps_body = keeps_body
        self._letters: dict[str, Letter] = {}
        self._copies: Counter[str] = Counter()

    def enter(self, message: AbstractIncomingMessage) -> None:
        """The next message of the stream."""
        if removal := Removal.read(message.headers, message.body):
            for removed in removal.ids:
                self._letters.pop(removed, None)
                self._copies.pop(removed, None)
        elif queue := self._queue_of(message):
            letter = slim(Letter.of(message, queue), self._keeps_body)
            self._letters.pop(letter.id, None)
            self._letters[letter.id] = letter
            self._copies[letter.id] += 1

    def in_queue(self, queue: str) -> list[Letter]:
        """The letters that should be in `queue`, the latest copy last."""
        return [letter for letter in self._letters.values() if letter.queue == queue]

    def count(self, queue: str) -> int:
        """How many messages that are: a letter that was published twice is two."""
        return sum(self._copies[letter.id] for letter in self.in_queue(queue))

    def _queue_of(self, message: AbstractIncomingMessage) -> str:
        """The dead queue that got the same message; empty for none."""
        if message.exchange == dead_exchange(self._prefix):
            dead_class = (message.routing_key or "").partition(".")[0]
            return dead_queue_of(dead_class, self._prefix) if dead_class in _CLASSES else ""
        # Through the alternate exchange a message keeps the name of the one it was published to.
        return dead_queue(UNROUTABLE, self._prefix) if message.exchange else ""


def slim(letter: Letter, keeps_body: Callable[[Letter], bool]) -> Letter:
    """The letter, without its body unless that is kept."""
    return letter if keeps_body(letter) else letter.without_body()
