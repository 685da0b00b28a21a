"""A bounded pool of sessions, keyed by login: who may send next, on which session, and when.

Knows nothing of SMTP: a session is anything with `usable`, `expires_at` and `close()`. It decides synchronously
and only then waits or opens, so no state is half changed. Each login has a stack of idle sessions and a queue
of waiting mails a lane, all of them O(1); urgent mail is served first. A mail waits for its rate before it
takes a session, so no session stands idle in the hands of somebody who may not send yet. Where no session is
to be had, a mail may follow another one on its session, once that one is handed over and awaits its last reply.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

RATE_WINDOW_SECONDS: Final = 60.0
LIFETIME_JITTER: Final = 0.1
EXPIRY_MARGIN_SECONDS: Final = 30.0
GROW_AFTER_MESSAGES: Final = 50


class PoolClosedError(Exception):
    """The worker is draining: nothing new is sent."""


class BudgetSpentError(Exception):
    """No session came free, or the rate did not allow sending, before the deadline."""


class PooledSession(Protocol):
    """What the pool needs of a session."""

    @property
    def usable(self) -> bool:
        """Whether another message can be sent on it."""

    @property
    def expires_at(self) -> float | None:
        """Monotonic time after which it must not be used, such as its token's expiry."""

    async def close(self) -> None:
        """Ends it; never raises."""


Key = TypeVar("Key", bound=Hashable)
Session = TypeVar("Session", bound=PooledSession)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one login. `reserved` sessions, and messages of `messages_per_minute`, are kept for urgent mail."""

    sessions: int = 8
    messages_per_session: int = 100
    lifetime_seconds: float = 900.0
    idle_seconds: float = 30.0
    messages_per_minute: int | None = None
    reserved: int = 0


@dataclass(slots=True, eq=False)
class Slot(Generic[Session]):
    """A session, how worn it is, and how many mails are on it: one, or more where one follows another."""

    session: Session
    retires_at: float
    idle_since: float
    mails: int = 1
    sent: int = 0


@dataclass(slots=True)
class Login(Generic[Session]):
    """The sessions of one login, and who waits for them.

    A waiter is handed a slot, or None: the place to open a session of its own. `ceiling` is how many sessions
    the server turned out to accept. On the `ending` ones the next mail may follow.
    """

    limits: Limits
    ceiling: int
    opened: int = 0
    opening: int = 0
    sent_since_change: int = 0
    idle: deque[Slot[Session]] = field(default_factory=deque)
    ending: deque[Slot[Session]] = field(default_factory=deque)
    urgent: deque[asyncio.Future[Slot[Session] | None]] = field(default_factory=deque)
    standard: deque[asyncio.Future[Slot[Session] | None]] = field(default_factory=deque)
    started: deque[float] = field(default_factory=deque)

    @property
    def established(self) -> int:
        """Sessions that are open, idle or sending."""
        return self.opened - self.opening

    @property
    def busy(self) -> int:
        """Sessions that are sending or being opened."""
        return self.opened - len(self.idle)

    def admits(self, *, urgent: bool, follows: bool) -> bool:
        """Whether one more mail may hold a session now, or share one. A reserve never takes the last one."""
        reserved = 0 if urgent else min(self.limits.reserved, self.ceiling - 1)
        return self.busy - follows < self.ceiling - reserved

    def seconds_until_allowed(self, now: float, *, urgent: bool) -> float:
        """Until the rate allows one more message: at most so many in any 60 seconds."""
        if self.limits.messages_per_minute is None:
            return 0.0
        while self.started and self.started[0] <= now - RATE_WINDOW_SECONDS:
            self.started.popleft()
        reserved = 0 if urgent else min(self.limits.reserved, self.limits.messages_per_minute - 1)
        too_many = len(self.started) - (self.limits.messages_per_minute - reserved)
        return 0.0 if too_many < 0 else self.started[too_many] + RATE_WINDOW_SECONDS - now

    def give_back_rate(self, reserved_at: float) -> None:
        """The message that was allowed at `reserved_at` was not sent after all."""
        with suppress(ValueError):
            self.started.remove(reserved_at)

    def next_waiter(self, *, follows: bool) -> asyncio.Future[Slot[Session] | None] | None:
        """Who is served next, if anybody may be: urgent before standard; those who gave up are passed over."""
        for line, urgent in ((self.urgent, True), (self.standard, False)):
            while line and line[0].done():
                line.popleft()
            if line and self.admits(urgent=urgent, follows=follows):
                return line.popleft()
        return None


class Pool(Generic[Key, Session]):
    """Sessions by login: `open_session` makes one, `limits` says how many there may be, and for how long.

    `open_session` may raise anything; the error goes to the mail that asked, and its place is free again.
    """

    def __init__(
        self,
        open_session: Callable[[Key], Awaitable[Session]],
        limits: Callable[[Key], Limits],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_session = open_session
        self._limits = limits
        self._clock = clock
        self._logins: dict[Key, Login[Session]] = {}
        self._identity: Callable[[Key], Hashable] = lambda key: key
        self._started: dict[Hashable, deque[float]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Pool {self.stats()}>"

    @asynccontextmanager
    async def lease(self, key: Key, *, urgent: bool, deadline: float) -> AsyncIterator[Slot[Session]]:
        """A session of login `key` for one message, got before `deadline` (monotonic seconds).

        It goes back when the block ends, or is closed if it is no longer usable. Raises BudgetSpentError,
        PoolClosedError, or whatever opening a session raised.
        """
        login = self._login(key)
        reserved_at = await self._wait_for_rate(login, urgent=urgent, deadline=deadline)
        try:
            slot = await self._take(login, urgent=urgent, deadline=deadline) or await self._open(login, key)
        except BaseException:
            login.give_back_rate(reserved_at)
            raise
        try:
            yield slot
        finally:
            self._give_back(login, slot)

    def hand_on(self, key: Key, slot: Slot[Session]) -> None:
        """Whoever has `slot` only waits for a last reply: the next mail may follow on it."""
        login = self._login(key)
        login.ending.append(slot)
        self._dispatch(login)

    def shrink(self, key: Key) -> bool:
        """The server refused one session more: keep to those there are, and grow back carefully.

        Returns whether there are any; without one the server takes nobody, and waiting for a place is no use.
        """
        login = self._login(key)
        login.ceiling = max(1, min(login.ceiling, login.established))
        login.sent_since_change = 0
        return login.established > 0

    def sent(self, identity: Callable[[Key], Hashable]) -> dict[Hashable, deque[float]]:
        """When messages of each login began that still count for its rate; goes on being counted."""
        begun = {**self._started, **{identity(key): login.started for key, login in self._logins.items()}}
        since = self._clock() - RATE_WINDOW_SECONDS
        return {who: started for who, started in begun.items() if started and started[-1] > since}

    def count_on(self, sent: dict[Hashable, deque[float]], identity: Callable[[Key], Hashable]) -> None:
        """What another pool `sent` before counts for the logins of the same identity here."""
        self._started, self._identity = sent, identity

    def close_to_new_mail(self) -> None:
        """Whoever waits, and whoever asks from now on, gets PoolClosedError; leases go on to their end."""
        self._closed.set()
        for login in self._logins.values():
            for waiter in (*login.urgent, *login.standard):
                if not waiter.done():
                    waiter.set_exception(PoolClosedError())

    async def close(self) -> None:
        """Takes no more mail, closes the idle sessions, and waits until they are closed."""
        self.close_to_new_mail()
        for login in self._logins.values():
            self._drop_idle(login, lambda _slot: True)
        await asyncio.gather(*self._closing)

    def close_worn_sessions(self) -> None:
        """Closes what has been idle or has lived too long. To be called every few seconds."""
        for login in self._logins.values():
            self._drop_idle(login, partial(self._worn, login))

    def stats(self) -> dict[str, int]:
        """How many sessions are idle and busy, and how many mails wait for one, over all logins."""
        logins = self._logins.values()
        return {
            "logins": len(logins),
            "idle": sum(len(login.idle) for login in logins),
            "busy": sum(login.busy for login in logins),
            "waiting_urgent": sum(not waiter.done() for login in logins for waiter in login.urgent),
            "waiting_standard": sum(not waiter.done() for login in logins for waiter in login.standard),
        }

    def _login(self, key: Key) -> Login[Session]:
        login = self._logins.get(key)
        if login is None:
            limits = self._limits(key)
            started = self._started.get(self._identity(key)) or deque[float]()
            login = self._logins[key] = Login(limits, ceiling=limits.sessions, started=started)
        return login

    async def _wait_for_rate(self, login: Login[Session], *, urgent: bool, deadline: float) -> float:
        while (seconds := login.seconds_until_allowed(self._clock(), urgent=urgent)) > 0.0:
            if self._clock() + seconds > deadline:
                raise BudgetSpentError
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), seconds)
                raise PoolClosedError
        now = self._clock()
        if login.limits.messages_per_minute is not None:
            login.started.append(now)
        return now

    async def _take(self, login: Login[Session], *, urgent: bool, deadline: float) -> Slot[Session] | None:
        if self._closed.is_set():
            raise PoolClosedError
        waiter: asyncio.Future[Slot[Session] | None] = asyncio.get_running_loop().create_future()
        (login.urgent if urgent else login.standard).append(waiter)
        self._dispatch(login)
        if waiter.done():
            return waiter.result()
        try:
            async with asyncio.timeout(deadline - self._clock()):
                return await waiter
        except (TimeoutError, asyncio.CancelledError) as late:
            self._take_back(login, waiter)
            if isinstance(late, TimeoutError):
                raise BudgetSpentError from None
            raise

    def _take_back(self, login: Login[Session], waiter: asyncio.Future[Slot[Session] | None]) -> None:
        # The waiter may have been served in the very moment it gave up.
        if waiter.cancel() or waiter.cancelled() or waiter.exception() is not None:
            return
        slot = waiter.result()
        if slot is None:
            login.opened -= 1
        else:
            slot.mails -= 1
            (login.ending if slot.mails else login.idle).append(slot)
        self._dispatch(login)

    async def _open(self, login: Login[Session], key: Key) -> Slot[Session]:
        session = None
        login.opening += 1
        try:
            session = await self._open_session(key)
        finally:
            login.opening -= 1
            if session is None:
                login.opened -= 1
                self._dispatch(login)
        lifetime = login.limits.lifetime_seconds * random.uniform(1.0 - LIFETIME_JITTER, 1.0)  # noqa: S311 - jitter
        retires_at = self._clock() + lifetime
        if session.expires_at is not None:
            left = session.expires_at - self._clock()
            retires_at = min(retires_at, session.expires_at - min(EXPIRY_MARGIN_SECONDS, left / 4))
        return Slot(session, retires_at, idle_since=self._clock())

    def _give_back(self, login: Login[Session], slot: Slot[Session]) -> None:
        slot.sent += 1
        slot.mails -= 1
        slot.idle_since = self._clock()
        self._grow(login)
        if slot.mails == 0:
            self._put_back(login, slot)
        self._dispatch(login)

    def _put_back(self, login: Login[Session], slot: Slot[Session]) -> None:
        with suppress(ValueError):
            login.ending.remove(slot)
        if self._fit(login, slot) and not self._closed.is_set():
            login.idle.append(slot)
        else:
            self._dispose(login, slot)

    def _dispatch(self, login: Login[Session]) -> None:
        while (waiter := login.next_waiter(follows=False)) is not None:
            waiter.set_result(self._checkout(login))
        while self._may_follow(login) and (waiter := login.next_waiter(follows=True)) is not None:
            slot = login.ending.pop()
            slot.mails += 1
            waiter.set_result(slot)

    def _checkout(self, login: Login[Session]) -> Slot[Session] | None:
        while login.idle:
            slot = login.idle.pop()
            if self._fit(login, slot):
                slot.mails += 1
                return slot
            self._dispose(login, slot)
        login.opened += 1
        return None

    def _may_follow(self, login: Login[Session]) -> bool:
        """Whether a mail may follow another: on the session handed on last, which has hung the shortest."""
        while login.ending and not self._fit(login, login.ending[-1]):
            login.ending.pop()
        return bool(login.ending)

    def _fit(self, login: Login[Session], slot: Slot[Session]) -> bool:
        now = self._clock()
        return (
            slot.session.usable
            and slot.sent + slot.mails < login.limits.messages_per_session
            and now < slot.retires_at
            and now - slot.idle_since < login.limits.idle_seconds
        )

    def _worn(self, login: Login[Session], slot: Slot[Session]) -> bool:
        return not self._fit(login, slot)

    def _grow(self, login: Login[Session]) -> None:
        login.sent_since_change += 1
        if login.ceiling < login.limits.sessions and login.sent_since_change >= GROW_AFTER_MESSAGES:
            login.ceiling += 1
            login.sent_since_change = 0

    def _drop_idle(self, login: Login[Session], is_to_go: Callable[[Slot[Session]], bool]) -> None:
        slots, login.idle = login.idle, deque()
        for slot in slots:
            if is_to_go(slot):
                self._dispose(login, slot)
            else:
                login.idle.append(slot)

    def _dispose(self, login: Login[Session], slot: Slot[Session]) -> None:
        login.opened -= 1
        task = asyncio.create_task(slot.session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
