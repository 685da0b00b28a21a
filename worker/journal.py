"""What this worker has sent, and is sending: looked up before every mail, so that none goes out twice.

A redelivery after a lost connection, an event published twice and a retry copy all name their mails by the same
keys. It is kept in memory, for as many mails as fit: a worker that is killed forgets it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

REMEMBERED_MAILS: Final = 200_000


class RecentMails:
    """Keys of mails that were delivered, the latest `remembered`, and of those in work."""

    def __init__(self, remembered: int = REMEMBERED_MAILS) -> None:
        self._remembered = remembered
        self._delivered: OrderedDict[str, None] = OrderedDict()
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
        self._delivered[key] = None
        if len(self._delivered) > self._remembered:
            self._delivered.popitem(last=False)
