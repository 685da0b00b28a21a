"""Suspects run alone: nothing innocent is in work when one of them ends its worker."""

import asyncio

from worker.quarantine import Quarantine


class Room:
    """A quarantine, and who was in work at what time."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.together: list[set[str]] = []
        self.here: set[str] = set()
        self.quarantine = Quarantine(self._pause, lambda: self.said.append("resume"))

    async def _pause(self) -> None:
        self.said.append("pause")

    async def deliver(self, name: str, seconds: float = 0.01, *, suspect: bool = False) -> None:
        """A delivery from its arrival to its end."""
        with self.quarantine.present():
            if suspect:
                await self.quarantine.alone()
            self.here.add(name)
            self.together.append(set(self.here))
            await asyncio.sleep(seconds)
            self.here.discard(name)


async def test_the_innocent_run_side_by_side() -> None:
    """Nothing waits for anything, and nothing is paused."""
    room = Room()
    await asyncio.gather(*(room.deliver(str(n)) for n in range(5)))
    assert len(max(room.together, key=len)) == 5
    assert room.said == []


async def test_suspects_run_alone_after_everybody_else() -> None:
    """Whatever was there before them is done first; then one by one."""
    room = Room()
    suspects = [room.deliver(f"suspect {n}", suspect=True) for n in range(3)]
    await asyncio.gather(*suspects, *(room.deliver(str(n), 0.05) for n in range(4)))
    assert len(room.together) == 7
    for together in room.together:
        suspected = any("suspect" in name for name in together)
        assert not suspected or len(together) == 1
    assert all("suspect" not in name for together in room.together[:4] for name in together)
    assert room.said == ["pause", "resume"]


async def test_one_that_comes_while_another_runs_has_its_turn() -> None:
    """And nothing new is taken until the last is done."""
    room = Room()
    first = asyncio.create_task(room.deliver("suspect 1", 0.05, suspect=True))
    await asyncio.sleep(0.02)
    await room.deliver("suspect 2", suspect=True)
    await first
    await asyncio.sleep(0)
    assert room.together == [{"suspect 1"}, {"suspect 2"}]
    assert room.said == ["pause", "resume"]


async def test_one_that_is_cut_off_while_it_waits_holds_up_nobody() -> None:
    """As at the end of a drain."""
    room = Room()
    busy = asyncio.create_task(room.deliver("busy", 0.05))
    await asyncio.sleep(0)
    cut_off = asyncio.create_task(room.deliver("suspect", suspect=True))
    other = asyncio.create_task(room.deliver("other suspect", suspect=True))
    await asyncio.sleep(0.01)
    cut_off.cancel()
    await asyncio.wait({busy, cut_off, other})
    await asyncio.sleep(0)
    assert {"other suspect"} in room.together
    assert room.said == ["pause", "resume"]
