"""One session's connection: carries its conversation once the SMTP library has connected and logged in.

The library drops replies that come before it asks for them, so it is left behind: its transport, encrypted or
not, speaks to this protocol from here on.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final, cast

from aiosmtplib import SMTP, SMTPException, SMTPServerDisconnected

from worker.smtp.replies import Phase
from worker.smtp.transaction import Conversation, LeftError, Outcome, Transaction

FINAL_REPLY_SECONDS: Final = 600.0  # RFC 5321 section 4.5.3.2.6
SENDING_SECONDS: Final = 300.0
"""How long a server may take until it has a whole message, however steadily it takes it; at most ten time-outs.

With the waits for a session and for the final reply far below the broker's consumer time-out of 30 minutes."""

PATIENCE_SECONDS: Final = 5.0
"""How long a mail that follows another waits for the verdict on that one, before it goes its own way."""


class SlowError(Exception):
    """The server takes the message, but drop by drop."""


def taken_over(smtp: SMTP) -> asyncio.Transport:
    """The transport of a connected client, which is not to be used any more.

    Raises SMTPException where it is closed, or the server has said more than it was asked.
    """
    protocol = smtp.protocol
    if protocol is None or protocol.transport is None or protocol.transport.is_closing():
        raise SMTPServerDisconnected("Connection lost")
    if protocol._buffer:  # noqa: SLF001 - what is left in there would be lost without a word
        raise SMTPException("the server spoke without being asked")
    return cast("asyncio.Transport", protocol.transport)


class Wire(asyncio.Protocol):
    """Takes over `transport`; at each step it waits for the server for `timeout` seconds."""

    def __init__(self, transport: asyncio.Transport, timeout: float) -> None:
        self._transport = transport
        self._timeout = timeout
        self._sending_seconds = min(SENDING_SECONDS, 10 * timeout)
        self._sent_by = inf
        self._talk = Conversation()
        self._turns = 0
        self._paused = False
        self._waiting: dict[Transaction, asyncio.Future[Outcome]] = {}
        self._ending: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        self._alarm = Alarm(self._too_late)
        self._patience = Alarm(self._impatient)
        transport.set_protocol(self)

    @property
    def free(self) -> bool:
        """Whether a mail can be carried."""
        return self._talk.free and not self._transport.is_closing()

    async def carry(self, mail: Transaction, ending: Callable[[], None] | None = None) -> Outcome:
        """Says what is to be said for `mail`, and returns how it ended. To cancel it ends the session.

        `ending` is called once another mail may be carried: it then follows this one, whose verdict is awaited.
        """
        if self._transport.is_closing():
            self._talk.break_off(ConnectionResetError())
        self._talk.begin(mail)
        ended: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting[mail], self._ending = ended, ending
        self._sent_by = self._loop.time() + self._sending_seconds
        if mail.follows:
            self._patience.set(min(PATIENCE_SECONDS, self._timeout))
        self._proceed()
        try:
            return await ended
        except asyncio.CancelledError:
            if mail.outcome is not None:
                return mail.outcome  # it ended in the very moment it was given up
            self._give_up(mail, ConnectionAbortedError())
            raise

    async def leave(self, seconds: float) -> None:
        """Takes leave of the server where that is possible within `seconds`, and hangs up."""
        if self._talk.idle and self.free:
            self._talk.leave()
            self._proceed()
            await asyncio.wait([self._over], timeout=seconds)
        self._break_off(ConnectionAbortedError())

    def data_received(self, data: bytes) -> None:
        """The server said something."""
        self._talk.receive(data)
        if self._talk.is_split:
            self._acknowledge()
        self._proceed()

    def _acknowledge(self) -> None:
        """A server that keeps Nagle's algorithm holds back what is to follow until it has our acknowledgement.

        There is nothing to say that would carry it, and left alone the kernel takes 40 ms over it.
        """
        connection = self._transport.get_extra_info("socket")
        if _QUICKACK is not None and connection is not None:
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def eof_received(self) -> None:
        """The server will say nothing more."""
        self._break_off(ConnectionResetError())

    def connection_lost(self, exc: Exception | None) -> None:
        """There is no connection any more."""
        self._break_off(exc or ConnectionResetError())

    def pause_writing(self) -> None:
        """The server is slower in reading than we are in writing."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._proceed()

    def _too_late(self) -> None:
        if self._loop.time() < self._sent_by or self._talk.is_judging:
            self._break_off(TimeoutError())
        else:
            seconds = self._sending_seconds
            self._break_off(SlowError(f"the server did not take the message within {seconds:g} seconds"))

    def _impatient(self) -> None:
        for mail in [mail for mail in self._waiting if mail.follows and mail.phase is Phase.MAIL]:
            self._give_up(mail, TimeoutError())

    def _give_up(self, mail: Transaction, fault: Exception) -> None:
        self._talk.give_up(mail, fault)
        self._proceed()

    def _break_off(self, fault: Exception) -> None:
        self._talk.break_off(fault)
        self._proceed()

    def _proceed(self) -> None:
        if self._ending is not None and self._talk.free:
            # If there is a mail to follow it comes at once, and what it has to say goes in the same write.
            ending, self._ending = self._ending, None
            ending()
            self._loop.call_soon(self._proceed)
        else:
            self._say()
        if self._turns == self._talk.turns:
            return  # a reply in small pieces buys no time
        self._turns = self._talk.turns
        for mail in [mail for mail in self._waiting if mail.outcome is not None]:
            self._tell(mail)
        if self._talk.fault is not None:
            self._hang_up(self._talk.fault)
        elif self._talk.quiet:
            self._alarm.off()
        elif self._talk.is_judging:
            self._alarm.set(FINAL_REPLY_SECONDS)
        else:
            self._alarm.set(min(self._timeout, self._sent_by - self._loop.time()))

    def _say(self) -> None:
        while self._takes_more and (data := self._talk.next_bytes()):
            self._transport.write(data)

    @property
    def _takes_more(self) -> bool:
        # A transport that has found out about its end takes everything, before it tells, and sends none of it.
        return not self._paused and not self._transport.is_closing()

    def _tell(self, mail: Transaction) -> None:
        self._patience.off()
        ended = self._waiting.pop(mail)
        if mail.outcome is not None and not ended.done():
            ended.set_result(mail.outcome)

    def _hang_up(self, fault: Exception) -> None:
        self._alarm.stop()
        self._patience.stop()
        self._ending = None
        if isinstance(fault, LeftError):
            self._transport.close()
        else:
            # Closing would go on sending what is buffered of a mail that was given up.
            self._transport.abort()
        if not self._over.done():
            self._over.set_result(None)


class Alarm:
    """Calls `ring` when it was not put off in time; to put it off costs next to nothing."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due = inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """It is due in so many seconds, whatever it was before."""
        self._due = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._due:
            self._start()

    def off(self) -> None:
        """It is not due at all. A timer that runs finds that out."""
        self._due = inf

    def stop(self) -> None:
        """It is not needed any more."""
        self.off()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() >= self._due:
            self._due = inf
            self._ring()
        elif self._due < inf:
            self._start()


_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Only Linux has it."""
