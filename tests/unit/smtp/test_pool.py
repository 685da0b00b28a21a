"""The pool: who gets which session when."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from worker.smtp.pool import BudgetSpentError, Limits, Pool, PoolClosedError

FAR = 60.0


class FakeSession:
    """Counts nothing itself; the tests look at it."""

    def __init__(self) -> None:
        self.usable = True
        self.expires_at: float | None = None
        self.closed = False

    async def close(self) -> None:
        """Remembers it."""
        self.closed = True


class Opener:
    """Opens sessions, and remembers them; `error` is raised instead when set."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.error: Exception | None = None

    async def __call__(self, _key: str) -> FakeSession:
        """A new session, or the error."""
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        self.sessions.append(FakeSession())
        return self.sessions[-1]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now


def pool_of(opener: Opener, clock: Clock | None = None, **limits: float) -> Pool[str, FakeSession]:
    """A pool with `limits` for every login."""
    return Pool(opener, lambda _key: Limits(**limits), clock or time.monotonic)  # type: ignore[arg-type]


@asynccontextmanager
async def leased(
    pool: Pool[str, FakeSession], *, urgent: bool = False, key: str = "a"
) -> AsyncIterator[FakeSession]:
    """A lease of a login, with all the time there is."""
    async with pool.lease(key, urgent=urgent, deadline=time.monotonic() + FAR) as slot:
        yield slot.session


async def test_a_session_is_used_again() -> None:
    """One after the other needs one session."""
    opener = Opener()
    pool = pool_of(opener)
    for _ in range(5):
        async with leased(pool):
            pass
    assert len(opener.sessions) == 1
    assert pool.stats()["idle"] == 1


async def test_each_login_has_sessions_of_its_own() -> None:
    """A session of one login never sends another's mail."""
    opener = Opener()
    pool = pool_of(opener)
    async with leased(pool, key="a") as first, leased(pool, key="b") as second:
        assert first is not second
    assert pool.stats()["logins"] == 2


async def test_no_more_sessions_than_the_limit() -> None:
    """Twenty mails at a time with three sessions open three."""
    opener = Opener()
    pool = pool_of(opener, sessions=3)

    async def send() -> None:
        async with leased(pool):
            await asyncio.sleep(0.001)

    await asyncio.gather(*(send() for _ in range(20)))
    assert len(opener.sessions) == 3


async def test_urgent_mail_is_served_before_standard_mail_that_waits_longer() -> None:
    """The urgent lane is first in line."""
    opener = Opener()
    pool = pool_of(opener, sessions=1)
    served: list[str] = []

    async def send(name: str, *, urgent: bool) -> None:
        async with leased(pool, urgent=urgent):
            served.append(name)

    async with leased(pool):
        waiting = [asyncio.create_task(send(f"standard {n}", urgent=False)) for n in range(3)]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(send("urgent", urgent=True)))
        await asyncio.sleep(0.01)
    await asyncio.gather(*waiting)
    assert served == ["urgent", "standard 0", "standard 1", "standard 2"]


async def test_a_reserved_session_is_for_urgent_mail_only() -> None:
    """With two sessions and one reserved, standard mail uses one, urgent mail the other at once."""
    opener = Opener()
    pool = pool_of(opener, sessions=2, reserved=1)
    async with leased(pool):
        with pytest.raises(BudgetSpentError):
            async with pool.lease("a", urgent=False, deadline=time.monotonic() + 0.05):
                pass
        async with leased(pool, urgent=True):
            assert len(opener.sessions) == 2


async def test_a_reserve_never_takes_the_last_session() -> None:
    """A limit of one session still sends standard mail."""
    pool = pool_of(Opener(), sessions=1, reserved=1)
    async with leased(pool):
        pass


async def test_who_waits_too_long_is_told_and_leaves_no_trace() -> None:
    """After a wait that ended at its deadline the place in line is free again."""
    pool = pool_of(Opener(), sessions=1)
    async with leased(pool):
        with pytest.raises(BudgetSpentError):
            async with pool.lease("a", urgent=False, deadline=time.monotonic() + 0.02):
                pass
    async with leased(pool):
        assert pool.stats() == {"logins": 1, "idle": 0, "busy": 1, "waiting_urgent": 0, "waiting_standard": 0}


async def test_a_cancelled_wait_loses_no_session() -> None:
    """Whoever is cancelled in the moment a session is handed over gives it back."""
    opener = Opener()
    pool = pool_of(opener, sessions=1)
    async with AsyncExitStack() as held:
        await held.enter_async_context(leased(pool))
        waiting = asyncio.create_task(held.enter_async_context(leased(pool)))
        await asyncio.sleep(0)
        pool._dispatch(pool._login("a"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with leased(pool):
        assert pool.stats()["busy"] == 1


async def test_an_error_of_opening_goes_to_the_mail_that_asked_and_frees_the_place() -> None:
    """The next mail tries anew."""
    opener = Opener()
    opener.error = ConnectionRefusedError()
    pool = pool_of(opener, sessions=1)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            async with leased(pool):
                pass
    opener.error = None
    async with leased(pool):
        assert len(opener.sessions) == 1


async def test_a_failed_opening_lets_the_next_in_line_try() -> None:
    """Nobody waits for a place that a failure has freed."""
    opener = Opener()
    pool = pool_of(opener, sessions=1)
    opener.error = ConnectionRefusedError()

    async def send() -> None:
        async with leased(pool):
            pass

    results = await asyncio.gather(*(send() for _ in range(4)), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionRefusedError] * 4


async def test_a_session_that_is_no_longer_usable_is_closed() -> None:
    """A broken session goes to nobody."""
    opener = Opener()
    pool = pool_of(opener)
    async with leased(pool) as session:
        session.usable = False
    async with leased(pool):
        pass
    await pool.close()
    assert len(opener.sessions) == 2
    assert all(session.closed for session in opener.sessions)


async def test_a_session_that_died_while_idle_is_passed_over() -> None:
    """The server may close what is idle: nobody is handed it."""
    opener = Opener()
    pool = pool_of(opener)
    async with leased(pool):
        pass
    opener.sessions[0].usable = False
    async with leased(pool) as session:
        assert session is opener.sessions[1]


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        pytest.param({"messages_per_session": 1}, 0.0, id="it has sent its messages"),
        pytest.param({"lifetime_seconds": 100.0}, 101.0, id="it has lived its life"),
        pytest.param({"idle_seconds": 10.0}, 11.0, id="it has been idle too long"),
    ],
)
async def test_a_worn_session_is_replaced(limits: dict[str, float], passes: float) -> None:
    """Messages, lifetime and idle time are bounded."""
    opener, clock = Opener(), Clock()
    pool = pool_of(opener, clock, **limits)
    for _ in range(2):
        async with pool.lease("a", urgent=False, deadline=clock.now + FAR):
            pass
        clock.now += passes
    assert len(opener.sessions) == 2


@pytest.mark.parametrize(("lasts", "retires_in"), [(600, 570), (120, 90), (8, 6)])
async def test_no_session_outlives_its_token(lasts: float, retires_in: float) -> None:
    """It retires half a minute before, or with a quarter of a short life left."""
    clock, session = Clock(), FakeSession()
    session.expires_at = clock.now + lasts

    async def opening(_key: str) -> FakeSession:
        return session

    pool = Pool(opening, lambda _key: Limits(), clock)
    async with pool.lease("a", urgent=False, deadline=clock.now + FAR) as slot:
        assert slot.retires_at <= clock.now + retires_in


async def test_idle_sessions_are_closed_by_the_sweep() -> None:
    """Nothing stays open because nobody asks for it."""
    opener, clock = Opener(), Clock()
    pool = pool_of(opener, clock, idle_seconds=10.0)
    async with pool.lease("a", urgent=False, deadline=clock.now + FAR):
        pass
    clock.now += 11
    pool.close_worn_sessions()
    await pool.close()
    assert opener.sessions[0].closed
    assert pool.stats()["idle"] == 0


async def test_the_rate_holds_in_any_minute_and_keeps_a_reserve() -> None:
    """Thirty a minute, one reserved: 29 standard, one urgent, then a wait until the first is a minute old."""
    clock = Clock()
    pool = pool_of(Opener(), clock, messages_per_minute=30, reserved=1)
    for _ in range(29):
        async with pool.lease("a", urgent=False, deadline=clock.now + 1):
            clock.now += 0.1
    with pytest.raises(BudgetSpentError):
        async with pool.lease("a", urgent=False, deadline=clock.now + 1):
            pass
    async with pool.lease("a", urgent=True, deadline=clock.now + 1):
        pass
    with pytest.raises(BudgetSpentError):
        async with pool.lease("a", urgent=True, deadline=clock.now + 1):
            pass
    clock.now = 1000.0 + 60.3
    async with pool.lease("a", urgent=False, deadline=clock.now + 1):
        pass


async def test_it_shrinks_to_what_the_server_accepts_and_grows_back_carefully() -> None:
    """A refused fourth session lowers the ceiling to three; fifty messages later it is four again."""
    opener = Opener()
    pool = pool_of(opener, sessions=4)
    async with AsyncExitStack() as three:
        for _ in range(3):
            await three.enter_async_context(leased(pool))
        pool.shrink("a")
        with pytest.raises(BudgetSpentError):
            async with pool.lease("a", urgent=False, deadline=time.monotonic() + 0.02):
                pass
    for _ in range(50):
        async with leased(pool):
            pass
    async with AsyncExitStack() as four:
        for _ in range(4):
            await four.enter_async_context(leased(pool))
        assert pool.stats()["busy"] == 4


@asynccontextmanager
async def ending(pool: Pool[str, FakeSession], *, urgent: bool = False) -> AsyncIterator[FakeSession]:
    """A lease whose mail is handed over: the next may follow on its session."""
    async with pool.lease("a", urgent=urgent, deadline=time.monotonic() + FAR) as slot:
        pool.hand_on("a", slot)
        yield slot.session


async def refused(pool: Pool[str, FakeSession], *, urgent: bool = False) -> bool:
    """Whether no mail gets a session now."""
    try:
        async with pool.lease("a", urgent=urgent, deadline=time.monotonic() + 0.02):
            return False
    except BudgetSpentError:
        return True


async def test_a_mail_follows_another_on_its_session() -> None:
    """Once all of that one is handed over, and where no session is free; both must have ended before it is."""
    opener = Opener()
    pool = pool_of(opener, sessions=1)
    async with AsyncExitStack() as first:
        slot = await first.enter_async_context(pool.lease("a", urgent=False, deadline=time.monotonic() + FAR))
        assert await refused(pool)
        pool.hand_on("a", slot)
        async with leased(pool) as session:
            assert session is slot.session
            await first.aclose()
            assert pool.stats()["busy"] == 1
            assert await refused(pool)
    assert pool.stats() == {"logins": 1, "idle": 1, "busy": 0, "waiting_urgent": 0, "waiting_standard": 0}


async def test_a_mail_that_waits_follows_at_once() -> None:
    """It need not ask again; urgent mail is first here too."""
    pool = pool_of(Opener(), sessions=1)
    served: list[str] = []

    async def send(name: str, *, urgent: bool) -> None:
        async with ending(pool, urgent=urgent):
            served.append(name)
            await asyncio.sleep(0)

    async with AsyncExitStack() as first:
        slot = await first.enter_async_context(pool.lease("a", urgent=False, deadline=time.monotonic() + FAR))
        waiting = [asyncio.create_task(send(f"standard {n}", urgent=False)) for n in range(3)]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(send("urgent", urgent=True)))
        await asyncio.sleep(0.01)
        assert served == []
        pool.hand_on("a", slot)
        await asyncio.gather(*waiting)
        assert served == ["urgent", "standard 0", "standard 1", "standard 2"]


async def test_a_free_session_or_place_comes_before_one_to_follow_on() -> None:
    """Nobody waits for another's verdict without need."""
    opener = Opener()
    pool = pool_of(opener, sessions=2)
    async with ending(pool) as first:
        async with leased(pool) as second:
            assert second is not first
        async with leased(pool) as third:
            assert third is second


async def test_the_session_handed_on_last_is_followed_first() -> None:
    """One that has waited for its verdict for long may wait for longer."""
    pool = pool_of(Opener(), sessions=2)
    async with ending(pool) as first, ending(pool) as second, leased(pool) as third, leased(pool) as fourth:
        assert (third, fourth) == (second, first)


async def test_a_session_is_followed_by_one_mail_at_a_time() -> None:
    """The second has to be handed over before a third may follow."""
    pool = pool_of(Opener(), sessions=1)
    async with ending(pool), leased(pool):
        assert await refused(pool)
    async with ending(pool), ending(pool):
        assert not await refused(pool)


async def test_standard_mail_does_not_follow_into_the_reserve() -> None:
    """A session that urgent mail holds beyond the others' share is the reserve."""
    pool = pool_of(Opener(), sessions=2, reserved=1)
    async with leased(pool), ending(pool, urgent=True):
        assert await refused(pool)
        assert not await refused(pool, urgent=True)
    async with ending(pool):
        assert not await refused(pool)


async def test_no_mail_follows_where_there_are_too_many_sessions() -> None:
    """A pool that shrank waits until its sessions are as few as it may have."""
    pool = pool_of(Opener(), sessions=2)
    async with AsyncExitStack() as other:
        await other.enter_async_context(leased(pool))
        async with ending(pool):
            pool._login("a").ceiling = 1
            assert await refused(pool)
            await other.aclose()
            assert not await refused(pool)


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        pytest.param({"messages_per_session": 1}, 0.0, id="its messages are sent"),
        pytest.param({"lifetime_seconds": 100.0}, 101.0, id="its life is over"),
        pytest.param({"idle_seconds": 10.0}, 11.0, id="it has waited for too long"),
    ],
)
async def test_no_mail_follows_on_a_worn_session(limits: dict[str, float], passes: float) -> None:
    """What would not be handed to the next is not followed on either."""
    clock = Clock()
    pool = pool_of(Opener(), clock, sessions=1, **limits)
    async with pool.lease("a", urgent=False, deadline=clock.now + FAR) as slot:
        clock.now += passes
        pool.hand_on("a", slot)
        with pytest.raises(BudgetSpentError):
            async with pool.lease("a", urgent=False, deadline=clock.now + 0.02):
                pass


async def test_mails_that_follow_count() -> None:
    """No session sends more than its messages."""
    opener = Opener()
    pool = pool_of(opener, sessions=1, messages_per_session=2)
    async with ending(pool), ending(pool):
        assert await refused(pool)
    async with leased(pool):
        assert len(opener.sessions) == 2


async def test_a_session_is_closed_when_the_last_mail_has_left_it() -> None:
    """A mail that broke it does not take it away from the one that awaits its end."""
    opener = Opener()
    pool = pool_of(opener, sessions=1)
    async with AsyncExitStack() as first:
        session = await first.enter_async_context(ending(pool))
        async with leased(pool):
            session.usable = False
            await first.aclose()
            await asyncio.sleep(0.01)
            assert not session.closed
    await asyncio.sleep(0.01)
    assert session.closed
    assert pool.stats()["busy"] == 0


async def test_a_place_behind_a_mail_is_not_lost_with_who_gave_up() -> None:
    """Whoever is cancelled in the moment a session is shared leaves it to the next."""
    pool = pool_of(Opener(), sessions=1)
    async with AsyncExitStack() as held:
        slot = await held.enter_async_context(pool.lease("a", urgent=False, deadline=time.monotonic() + FAR))
        waiting = asyncio.create_task(held.enter_async_context(leased(pool)))
        await asyncio.sleep(0)
        pool.hand_on("a", slot)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not await refused(pool)
    assert pool.stats()["idle"] == 1


async def test_draining_ends_the_waiting_and_not_the_sending() -> None:
    """Who waits is told that the pool is closed; who sends goes on."""
    opener = Opener()
    pool = pool_of(opener, sessions=1)

    async def send() -> None:
        async with leased(pool):
            pass

    async with leased(pool) as session:
        waiting = asyncio.create_task(send())
        await asyncio.sleep(0)
        pool.close_to_new_mail()
        with pytest.raises(PoolClosedError):
            await waiting
        with pytest.raises(PoolClosedError):
            await send()
        assert not session.closed
    await pool.close()
    assert session.closed
