"""How long sending may take: never for ever, and never cut where the server may have accepted the mail."""

import asyncio

import pytest

from worker.deliver import bounded
from worker.errors import Scope, TransientError


async def test_what_takes_too_long_is_cut_off_as_the_servers_trouble() -> None:
    """The mail goes back; its session is out of step and closed."""
    with pytest.raises(TransientError, match="did not take the message") as caught:
        async with bounded(lambda: True, 0.01):
            await asyncio.sleep(60)
    assert caught.value.scope is Scope.SERVER
    assert not caught.value.unknown
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_what_may_be_accepted_already_is_not_cut_off() -> None:
    """After the final dot only the server's reply, or its own time-out, ends the waiting."""
    async with bounded(lambda: False, 0.01):
        await asyncio.sleep(0.05)


async def test_a_drain_is_told_from_a_spent_budget() -> None:
    """Whoever cancels from outside sees the cancellation."""

    async def sending() -> None:
        async with bounded(lambda: True, 60):
            await asyncio.sleep(60)

    task = asyncio.create_task(sending())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
