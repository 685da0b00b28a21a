"""A journal for tests of what does without one."""

import asyncio

import aio_pika
from aio_pika.abc import AbstractConnection

from worker.adoption import Runs
from worker.journal import Journal, JournalMissingError
from worker.recent import RecentMails


def no_journal() -> Journal:
    """As at a broker without streams: nothing is written, and nobody waits."""
    return Journal(
        stream="",
        publish=_never,
        connect=_missing,
        recent=RecentMails(),
        runs=Runs(),
        worker="test/1/0",
        settings_rev="rev",
    )


async def _never(exchange: str, key: str, message: aio_pika.Message) -> None:
    await asyncio.Event().wait()


async def _missing() -> AbstractConnection:
    raise JournalMissingError("a test without a journal")
