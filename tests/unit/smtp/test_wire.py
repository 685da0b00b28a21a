"""A session's connection and its clocks, over a transport that does as it is told."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.smtp_model import mail_to
from worker.smtp.replies import Phase
from worker.smtp.transaction import BLOCK_BYTES, Accepted, Broken, Refused, Transaction
from worker.smtp.wire import Alarm, SlowError, Wire

SECONDS = 0.05
ENVELOPE_OK = b"250 Ok\r\n250 Ok\r\n354 Go on\r\n"


class Line(asyncio.Transport):
    """Remembers what is written to it; after each write `paced` may say how the server takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.wire: Wire | None = None
        self.written: list[bytes] = []
        self.closed = ""
        self.paced: Callable[[Wire], None] = lambda _wire: None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """It speaks to the wire from now on."""
        assert isinstance(protocol, Wire)
        self.wire = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Remembers it."""
        self.written.append(bytes(data))
        assert self.wire is not None
        self.paced(self.wire)

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return bool(self.closed)

    def close(self) -> None:
        """In an orderly way."""
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        """At once."""
        self.closed = self.closed or "aborted"


@pytest.fixture
def line() -> Line:
    """A connection."""
    return Line()


@pytest.fixture
async def wire(line: Line) -> Wire:
    """What has taken it over."""
    return Wire(line, SECONDS)


async def carried(wire: Wire, mail: Transaction) -> asyncio.Task[object]:
    """A task that carries `mail`, and has said the envelope."""
    task = asyncio.create_task(wire.carry(mail))
    await asyncio.sleep(0)
    return task


def broken(mail: Transaction) -> Broken:
    """How it ended, which must be so."""
    assert isinstance(mail.outcome, Broken)
    return mail.outcome


async def test_a_server_that_takes_a_message_drop_by_drop_is_given_up(line: Line, wire: Wire) -> None:
    """No step takes too long, but all of them together; nothing was accepted."""
    steady: list[asyncio.TimerHandle] = []

    def slowly(wire: Wire) -> None:
        wire.pause_writing()
        steady.append(asyncio.get_running_loop().call_later(SECONDS / 5, wire.resume_writing))

    mail = mail_to(0, size=500 * BLOCK_BYTES)
    task = await carried(wire, mail)
    line.paced = slowly
    wire.data_received(ENVELOPE_OK)
    async with asyncio.timeout(10):
        await task
    assert isinstance(broken(mail).fault, SlowError)
    assert (broken(mail).phase, broken(mail).unknown) == (Phase.BODY, False)
    assert str(broken(mail).fault) == "the server did not take the message within 0.5 seconds"
    assert line.closed == "aborted"
    assert len(line.written) < 500


async def test_a_server_that_stops_taking_a_message_is_given_up_sooner(line: Line, wire: Wire) -> None:
    """After the time-out of a step."""
    mail = mail_to(0, size=500 * BLOCK_BYTES)
    task = await carried(wire, mail)
    line.paced = Wire.pause_writing
    wire.data_received(ENVELOPE_OK)
    async with asyncio.timeout(5):
        await task
    assert isinstance(broken(mail).fault, TimeoutError)
    assert not broken(mail).unknown


async def test_what_a_dying_transport_takes_is_not_handed_over(line: Line, wire: Wire) -> None:
    """With uvloop there is room again when a write has failed, before the connection is known to be lost."""
    mail = mail_to(0, size=500 * BLOCK_BYTES)
    task = await carried(wire, mail)
    line.paced = Wire.pause_writing
    wire.data_received(ENVELOPE_OK)
    line.close()
    wire.resume_writing()
    wire.connection_lost(ConnectionResetError())
    await task
    assert (broken(mail).phase, broken(mail).unknown) == (Phase.BODY, False)
    assert len(line.written) == 2


async def test_the_final_reply_has_time(line: Line, wire: Wire) -> None:
    """Neither the time-out of a step nor that of sending ends the wait for it."""
    mail = mail_to(0)
    task = await carried(wire, mail)
    wire.data_received(ENVELOPE_OK)
    await asyncio.sleep(12 * SECONDS)
    wire.data_received(b"250 Queued\r\n")
    await task
    assert isinstance(mail.outcome, Accepted)
    assert not line.closed


async def test_a_message_and_the_next_envelope_are_one_write(line: Line, wire: Wire) -> None:
    """If the next mail comes as soon as it is called; else the message goes alone."""
    mails = [mail_to(number) for number in range(3)]
    following: list[asyncio.Task[object]] = []

    def call_next() -> None:
        following.append(asyncio.create_task(wire.carry(mails[1])))

    first = asyncio.create_task(wire.carry(mails[0], call_next))
    await asyncio.sleep(0)
    wire.data_received(ENVELOPE_OK)
    assert len(line.written) == 1
    await asyncio.sleep(0)
    assert line.written[1:] == [mails[0].body + mails[1].mail + mails[1].rcpt + b"DATA\r\n"]
    wire.data_received(b"250 Queued\r\n" + ENVELOPE_OK)
    assert line.written[2:] == [mails[1].body]
    wire.data_received(b"250 Queued\r\n")
    assert [type(outcome) for outcome in await asyncio.gather(first, *following)] == [Accepted, Accepted]


async def test_a_mail_that_ends_as_it_is_cancelled_has_ended(wire: Wire) -> None:
    """What the server said is not unsaid by our impatience."""
    mail = mail_to(0)
    task = await carried(wire, mail)
    wire.data_received(b"550 No\r\n" * 3)
    task.cancel()
    assert isinstance(await task, Refused)


async def test_leaving_waits_for_the_goodbye_and_no_longer(line: Line, wire: Wire) -> None:
    """An orderly end where the server has one, else an end."""
    leaving = asyncio.create_task(wire.leave(5))
    await asyncio.sleep(0)
    assert line.written == [b"QUIT\r\n"]
    wire.data_received(b"221 Bye\r\n")
    await leaving
    assert line.closed == "closed"
    await wire.leave(5)
    other = Line()
    await Wire(other, SECONDS).leave(0.01)
    assert other.closed == "aborted"


async def test_a_connection_lost_while_idle_is_not_free(line: Line, wire: Wire) -> None:
    """Whatever way it ends; a mail that comes too late is told at once."""
    assert wire.free
    wire.connection_lost(None)
    assert not wire.free
    mail = mail_to(0)
    await wire.carry(mail)
    assert isinstance(broken(mail).fault, ConnectionResetError)
    assert line.written == []


async def test_a_closing_transport_is_not_written_to(line: Line, wire: Wire) -> None:
    """It may be on its way out before anybody was told."""
    line.close()
    assert not wire.free
    mail = mail_to(0)
    await wire.carry(mail)
    assert broken(mail).phase is Phase.MAIL
    assert line.written == []


async def test_an_alarm_rings_when_it_is_due_and_not_before() -> None:
    """It may be put off, brought forward and called off."""
    rung: list[float] = []
    loop = asyncio.get_running_loop()
    alarm = Alarm(lambda: rung.append(loop.time()))
    began = loop.time()
    alarm.set(0.02)
    alarm.set(0.06)
    await asyncio.sleep(0.2)
    assert [at - began >= 0.06 for at in rung] == [True]
    alarm.set(60)
    alarm.set(0.01)
    await asyncio.sleep(0.1)
    assert len(rung) == 2
    alarm.set(0.01)
    alarm.off()
    await asyncio.sleep(0.05)
    alarm.set(0.01)
    alarm.stop()
    await asyncio.sleep(0.05)
    assert len(rung) == 2
