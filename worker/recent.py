"""What was sent, and is being sent: looked up before every mail, so that none goes out twice.

A redelivery after a lost connection, an event published twice, a retry copy and a redrive all name their mails
by the same keys. It is kept in memory, for as many as fit; the journal fills it at the start, and with what
other workers send.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

REMEMBERED: Final = 200_000


class Latest:
    """A set of keys that holds the latest `most` of those added."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._keys: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: str) -> None:
        """Remembers `key`, and forgets the oldest where it is one too many."""
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self._most:
            self._keys.popitem(last=False)

    def discard(self, key: str) -> None:
        """Forgets `key`."""
        self._keys.pop(key, None)


class RecentMails:
    """Keys of mails that were delivered, the latest `remembered`, and of those in work."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._delivered = Latest(remembered)
        self._in_work: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def claim(self, key: str) -> AsyncIterator[bool]:
        """Holds a mail for sending; yields True if it has to be sent, False if it was delivered before.

        Whoever else claims the same mail waits until the block ends, and then sees how it went.
        """
        while (running := self._in_work.get(key)) is not None:
            await asyncio.wait({running})
        if key in self._delivered:
            yield False
            return
        done = self._in_work[key] = asyncio.get_running_loop().create_future()
        try:
            yield True
        finally:
            del self._in_work[key]
            done.set_result(None)

    def delivered(self, key: str) -> None:
        """Remembers that the mail was accepted by the server."""
        self._delivered.add(key)

    def all_delivered(self, keys: Collection[str]) -> bool:
        """Whether each of these mails is known as delivered."""
        return all(key in self._delivered for key in keys)

    def __len__(self) -> int:
        return len(self._delivered)
