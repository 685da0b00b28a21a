"""Pipelined sessions over real sockets: envelopes in one write, mails that follow before the verdict."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trustme
import uvloop

from contracts.dead_letter import Reason
from tests.support.model_listener import ModelListener
from tests.support.smtp_model import Fault, ModelServer
from tests.support.smtp_server import SmtpServer, certified
from worker.errors import NotifyError, PermanentError, Scope, TransientError
from worker.smtp.opening import open_session, trust
from worker.smtp.pace import Pace
from worker.smtp.plan import Anonymous, ConnectionPlan, Encryption
from worker.smtp.pool import Limits, Pool
from worker.smtp.replies import Reply
from worker.smtp.session import Session, StaleSessionError

MAILS: Final = 3
REPLIES: Final = MAILS * 4
LONG_ENOUGH: Final = 60.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of these tests."""
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """The worker's trust, with that authority in it."""
    context = trust()
    authority.configure_trust(context)
    return context


async def open_to(
    server: ModelListener | SmtpServer,
    tls: ssl.SSLContext,
    encryption: Encryption = Encryption.NONE,
    seconds: float = 5.0,
) -> Session:
    """A session with `server`."""
    plan = ConnectionPlan(server.host, server.port, encryption, Anonymous())
    return await open_session(plan, timeout=seconds, tls=tls, local_hostname="worker.example.com")


@asynccontextmanager
async def session_with(
    server: ModelListener | SmtpServer,
    tls: ssl.SSLContext,
    encryption: Encryption = Encryption.NONE,
    seconds: float = 5.0,
) -> AsyncIterator[Session]:
    """A session with `server`, closed at the end."""
    session = await open_to(server, tls, encryption, seconds)
    try:
        yield session
    finally:
        await session.close()


async def send(session: Session, number: int, pace: Pace | None = None) -> Reply:
    """Sends a mail of that number, which is its sender, its recipient and its text."""
    return await session.send(f"{number}@x", f"{number}@x", b"mail %d\r\n" % number, smtputf8=False, pace=pace)


async def send_overlapping(session: Session, count: int, pace: Pace | None = None) -> list[Reply | NotifyError]:
    """Sends so many mails, each as soon as the session takes it; how those ended that it took."""
    pace, sending = pace or Pace(), list[asyncio.Task[Reply]]()
    for number in range(count):
        handed_on = asyncio.Event()
        sender = f"{number}@x"
        task = asyncio.create_task(
            session.send(
                sender, sender, b"mail %d\r\n" % number, smtputf8=False, pace=pace, ending=handed_on.set
            )
        )
        sending.append(task)
        signal = asyncio.create_task(handed_on.wait())
        await asyncio.wait({task, signal}, return_when=asyncio.FIRST_COMPLETED)
        signal.cancel()
        if not session.usable:
            break
    await asyncio.wait(sending)
    return [_ended(task) for task in sending]


def _ended(task: asyncio.Task[Reply]) -> Reply | NotifyError:
    error = task.exception()
    assert error is None or isinstance(error, NotifyError)
    return task.result() if error is None else error


def check(model: ModelServer, ended: list[Reply | NotifyError]) -> None:
    """What was told as taken was taken, once; what was not, was not, unless it is unknown."""
    taken = Counter(number.removeprefix(b"mail ").strip() for _, _, number in model.took)
    for number, how in enumerate(ended):
        times = taken.pop(b"%d" % number, 0)
        if isinstance(how, Reply):
            assert times == 1
            assert f"<{number}@x>" in how.text
        else:
            assert times == 0 or (isinstance(how, TransientError) and how.unknown)
    assert not taken
    assert all(recipients == (sender,) for sender, recipients, _ in model.took)


@pytest.mark.parametrize("encryption", Encryption)
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.SILENT])
async def test_whatever_is_wrong_with_whichever_reply(
    fault: Fault, encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """No mail is told as taken that was not, none taken unless told or unknown, whatever the encryption."""
    certificate = certified(authority) if encryption is not Encryption.NONE else None

    async def one(position: int, size: int) -> None:
        model = ModelServer({position: fault}, endless=6000)
        implicit = encryption is Encryption.IMPLICIT
        async with (
            ModelListener(model, size, tls=certificate, implicit=implicit) as server,
            session_with(server, tls, encryption) as session,
        ):
            ended = await send_overlapping(session, MAILS)
        check(model, ended)

    await asyncio.gather(*(one(position, 7) for position in range(REPLIES)))


@pytest.mark.parametrize("encryption", Encryption)
def test_uvloop_makes_no_difference(encryption: Encryption, authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """The worker runs on uvloop, whose transports are its own."""
    certificate = certified(authority) if encryption is not Encryption.NONE else None

    async def scenario(fault: Fault, position: int) -> None:
        model = ModelServer({position: fault}, endless=6000)
        implicit = encryption is Encryption.IMPLICIT
        async with (
            ModelListener(model, 11, tls=certificate, implicit=implicit) as server,
            session_with(server, tls, encryption) as session,
        ):
            check(model, await send_overlapping(session, MAILS))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for fault in (Fault.LONG, Fault.CUT, Fault.CUT_AFTER, Fault.CLOSES, Fault.KEEPS, Fault.GARBAGE):
            for position in (0, 3, 6, 7):
                runner.run(scenario(fault, position))


async def test_mails_follow_each_other_on_one_session(tls: ssl.SSLContext) -> None:
    """Each begins before the verdict on the one before it; all arrive, once, in order."""
    async with SmtpServer() as server, session_with(server, tls) as session:
        server.delay("BODY", 0.02)
        ended = await send_overlapping(session, 10)
    assert all(isinstance(how, Reply) for how in ended)
    assert [accepted.recipients for accepted in server.accepted] == [(f"{number}@x",) for number in range(10)]
    assert server.connections == 1
    assert "RSET" not in server.commands


@pytest.mark.parametrize(
    ("extensions", "stumbled"),
    [
        pytest.param((), "", id="no PIPELINING"),
        pytest.param(("PIPELINING",), "overlap", id="it lost step with an overlap"),
        pytest.param(("PIPELINING",), "group", id="it lost step with a group"),
    ],
)
async def test_no_mail_follows_where_the_server_does_not_take_that(
    extensions: tuple[str, ...], stumbled: str, tls: ssl.SSLContext
) -> None:
    """RFC 2920: only who offers PIPELINING may be spoken to before it has replied."""
    pace = Pace()
    if stumbled:
        pace.stumbled(overlapping=stumbled == "overlap")
    async with SmtpServer(extensions=extensions) as server, session_with(server, tls) as session:
        handed_on: list[bool] = []
        await session.send(
            "a@x", "b@x", b"x\r\n", smtputf8=False, pace=pace, ending=lambda: handed_on.append(session.usable)
        )
        assert not handed_on


COMPLAINTS: Final = [
    pytest.param("500 5.5.2 Unrecognized command", id="500"),
    pytest.param("502 5.5.1 Not implemented", id="502"),
    pytest.param("503 5.5.1 Bad sequence", id="503"),
    pytest.param("554 5.5.0 SMTP protocol synchronization", id="synchronization"),
    pytest.param("554 5.5.0 Improper use of SMTP command pipelining", id="pipelining"),
]


@pytest.mark.parametrize("reply", COMPLAINTS)
@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_complains_of_a_group_is_spoken_to_slowly(
    point: str, reply: str, tls: ssl.SSLContext
) -> None:
    """The mail is not to blame before it was tried command by command; then it is."""
    pace = Pace()
    async with SmtpServer() as server, session_with(server, tls) as session:
        server.answer(point, reply)
        with pytest.raises(TransientError) as first:
            await send(session, 1, pace)
        assert not first.value.unknown
        assert (pace.grouped, pace.overlapping) == (False, False)
        with pytest.raises(NotifyError) as second:
            await send(session, 1, pace)
        assert not isinstance(second.value, StaleSessionError)
        server.forget_script()
        await send(session, 2, pace)
    assert server.connections == 1


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_complains_of_an_overlap_is_given_time(point: str, tls: ssl.SSLContext) -> None:
    """The mail that followed goes again; groups are still sent."""
    pace = Pace()
    async with SmtpServer() as server, session_with(server, tls) as session:
        server.answer(point, "503 5.5.1 Bad sequence", skip=1, times=1)
        first, second = await send_overlapping(session, 2, pace)
        assert isinstance(first, Reply)
        assert isinstance(second, StaleSessionError)
        assert (pace.grouped, pace.overlapping) == (True, False)
        await send(session, 1, pace)
    assert len(server.accepted) == 2


@pytest.mark.parametrize(
    ("point", "reply", "kind", "reason"),
    [
        ("MAIL", "550 5.1.8 Bad sender", PermanentError, Reason.SMTP_SEND_AS_DENIED),
        ("RCPT", "550 5.1.1 No such user", PermanentError, Reason.RECIPIENT_REFUSED),
        ("RCPT", "450 4.2.0 Busy", TransientError, Reason.SMTP_MAILBOX_UNAVAILABLE),
        ("DATA", "554 5.7.1 No", PermanentError, Reason.MESSAGE_REFUSED),
    ],
)
async def test_a_mail_that_follows_is_refused_like_any_other(
    point: str, reply: str, kind: type[NotifyError], reason: Reason, tls: ssl.SSLContext
) -> None:
    """Where nothing speaks of haste, and the mail before was accepted."""
    pace = Pace()
    async with SmtpServer() as server, session_with(server, tls) as session:
        server.answer(point, reply, to="1@x" if point != "MAIL" else "", skip=point == "MAIL", times=1)
        first, second, third = await send_overlapping(session, 3, pace)
    assert isinstance(first, Reply)
    assert isinstance(second, NotifyError)
    assert (type(second), second.reason) == (kind, reason)
    assert isinstance(third, Reply)
    assert pace.overlapping
    assert server.connections == 1


@pytest.mark.parametrize(
    ("reply", "overlapping"), [("554 5.7.1 Spam", True), ("421 4.3.2 Closing", True), ("", False)]
)
async def test_what_befalls_a_mail_lets_the_one_behind_it_go_again(
    reply: str, tls: ssl.SSLContext, *, overlapping: bool
) -> None:
    """Refused, or cut without a word: it is the first mail's, and the second was heard by nobody."""
    pace = Pace()
    async with SmtpServer() as server, session_with(server, tls) as session:
        if reply:
            server.answer("BODY", reply)
        else:
            server.hang_up("BODY")
        first, second = await send_overlapping(session, 2, pace)
        assert not session.usable
    assert isinstance(first, NotifyError)
    assert first.detail.startswith(reply or "body: the connection was lost")
    assert isinstance(first, TransientError | PermanentError)
    assert getattr(first, "unknown", False) is not bool(reply)
    assert isinstance(second, StaleSessionError)
    assert pace.overlapping is overlapping
    assert not server.accepted


async def test_a_mail_does_not_follow_for_ever(tls: ssl.SSLContext) -> None:
    """Behind a verdict that takes its time it goes its own way; the verdict is waited for."""
    pace = Pace()
    async with SmtpServer() as server, session_with(server, tls, seconds=0.2) as session:
        server.delay("BODY", 0.6)
        first, second = await send_overlapping(session, 2, pace)
        assert not session.usable
    assert isinstance(first, Reply)
    assert isinstance(second, StaleSessionError)
    assert not pace.overlapping
    assert [accepted.recipients for accepted in server.accepted] == [("0@x",)]


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_of_two_mails_one_can_be_cancelled(cancelled: int, tls: ssl.SSLContext) -> None:
    """The other is not touched, but the session takes no third."""
    async with SmtpServer() as server, session_with(server, tls) as session:
        server.delay("BODY", 0.1)
        handed_on = asyncio.Event()
        first = asyncio.create_task(
            session.send("0@x", "0@x", b"mail\r\n", smtputf8=False, ending=handed_on.set)
        )
        await handed_on.wait()
        tasks = [first, asyncio.create_task(send(session, 1))]
        await server.reached["BODY"].wait()
        tasks[cancelled].cancel()
        await asyncio.wait(tasks)
        assert not session.usable
    assert isinstance(tasks[1 - cancelled].result(), Reply)
    if cancelled:
        assert tasks[1].cancelled()
    else:
        error = first.exception()
        assert isinstance(error, TransientError)
        assert error.unknown


async def test_a_server_that_trickles_is_given_up(tls: ssl.SSLContext) -> None:
    """Bytes buy no time; only whole replies do."""
    async with (
        ModelListener(ModelServer({0: Fault.LONG}), 1, pause_seconds=0.05) as server,
        session_with(server, tls, seconds=0.2) as session,
    ):
        async with asyncio.timeout(2):
            with pytest.raises(TransientError) as caught:
                await send(session, 0)
    assert caught.value.detail == "mail: no answer in time"


@pytest.mark.parametrize("point", ["RCPT", "DATA"])
async def test_a_server_that_falls_silent_amid_a_group_is_spoken_to_slowly(
    point: str, tls: ssl.SSLContext
) -> None:
    """Some middleboxes lose what comes too early."""
    pace = Pace()
    async with SmtpServer() as server, session_with(server, tls, seconds=0.2) as session:
        server.stay_silent(point)
        with pytest.raises(TransientError) as caught:
            await send(session, 0, pace)
    assert (caught.value.reason, caught.value.scope) == (Reason.SMTP_UNREACHABLE, Scope.SERVER)
    assert not pace.grouped


async def test_a_server_that_speaks_before_it_is_taken_over_is_not_listened_to(tls: ssl.SSLContext) -> None:
    """What comes behind the last reply to the library would be taken for the reply to our first command."""
    async with ModelListener(ModelServer(), hello=b"250 PIPELINING\r\n250 Ok\r\n") as server:
        with pytest.raises(TransientError) as caught:
            await open_to(server, tls)
    assert caught.value.detail == "auth: the server spoke without being asked"


class Sender:
    """Sends mails through a pool as the worker does: again where a session was stale."""

    def __init__(self, server: SmtpServer, tls: ssl.SSLContext, **limits: int) -> None:
        self.pace = Pace()
        self.stale = 0

        async def opened(_key: str) -> Session:
            return await open_to(server, tls)

        self.pool: Pool[str, Session] = Pool(opened, lambda _key: Limits(**limits))

    async def send(self, number: int, *, urgent: bool = False) -> Reply:
        """Sends a mail of that number. Raises NotifyError."""
        deadline = asyncio.get_running_loop().time() + LONG_ENOUGH
        sender = f"{number}@x"
        while True:
            try:
                async with self.pool.lease("a", urgent=urgent, deadline=deadline) as slot:
                    return await slot.session.send(
                        sender,
                        sender,
                        b"mail %d\r\n" % number,
                        smtputf8=False,
                        pace=self.pace,
                        ending=lambda: self.pool.hand_on("a", slot),
                    )
            except StaleSessionError:
                self.stale += 1


async def test_a_pool_sends_one_mail_a_round_trip(tls: ssl.SSLContext) -> None:
    """Its sessions take the next mail before they have replied to the last; each limit holds."""
    async with SmtpServer() as server:
        sender = Sender(server, tls, sessions=2, messages_per_session=10)
        replies = await asyncio.gather(*(sender.send(number) for number in range(60)))
        await sender.pool.close()
    assert all(reply.code == 250 for reply in replies)
    assert Counter(accepted.recipients[0] for accepted in server.accepted) == Counter(
        f"{number}@x" for number in range(60)
    )
    assert max(Counter(accepted.connection for accepted in server.accepted).values()) == 10
    assert server.connections == 6
    assert server.most_connections <= 4  # two that say QUIT, beside the two
    assert sender.stale == 0


async def test_whatever_a_server_does_under_load_no_mail_is_lost_or_repeated(tls: ssl.SSLContext) -> None:
    """Refusals, cuts, 421s and complaints fall on mails that overlap; what is told is what was."""
    async with SmtpServer() as server:
        for number in range(0, 300, 7):
            server.answer("RCPT", "550 5.1.1 No such user", to=f"{number}@x")
        for number in range(1, 300, 31):
            server.answer("BODY", "554 5.7.1 Spam", to=f"{number}@x")
        for number in range(2, 300, 41):
            server.hang_up("BODY", to=f"{number}@x", times=1, accept=number % 2 == 0)
        for number in range(3, 300, 53):
            server.answer("BODY", "421 4.3.2 Closing", to=f"{number}@x", times=1)
        sender = Sender(server, tls, sessions=3)
        ended = await asyncio.gather(*(sender.send(number) for number in range(300)), return_exceptions=True)
        await sender.pool.close()
    taken = Counter(accepted.recipients for accepted in server.accepted)
    for number, how in enumerate(ended):
        times = taken.pop((f"{number}@x",), 0)
        if isinstance(how, Reply):
            assert times == 1
        else:
            assert isinstance(how, PermanentError | TransientError)
            assert times == 0 or (isinstance(how, TransientError) and how.unknown)
    assert not taken
    assert sender.stale > 0
