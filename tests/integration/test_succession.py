"""A revision takes over in the middle of mail: what has a session ends on it, the rest begins anew."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import aio_pika
import pytest

from contracts.dead_letter import Reason
from tests.integration.test_deliver import mail_to
from tests.support.amqp import until
from tests.support.journal import no_journal
from tests.support.ports import closed_port, silent_port
from tests.support.smtp_server import SmtpServer
from worker.adoption import Runs
from worker.errors import PermanentError
from worker.outcome import Delivered, Interrupted, Outcome
from worker.quarantine import Quarantine
from worker.recent import RecentMails
from worker.redact import Redactor
from worker.revision import Groundwork, Lasting
from worker.settings import load
from worker.succession import Succession


def ground(server: SmtpServer, **settings: str) -> Groundwork:
    """What settings make that send to `server`."""
    to_server = {"EmailSMTPHost": server.host, "EmailSmtpPort": str(server.port)}
    return Groundwork.of(load({**to_server, **settings}))


class Worker:
    """A succession, and whether consuming is paused."""

    def __init__(self, first: Groundwork) -> None:
        self.paused = asyncio.Event()
        self.redact = Redactor()
        lasting = Lasting(
            publish=_never,
            journal=no_journal(),
            recent=RecentMails(),
            runs=Runs(),
            quarantine=Quarantine(_at_once, lambda: None),
            redact=self.redact,
            worker="test/1/0",
        )
        self.succession = Succession(first, lasting, pause=self.paused.set, resume=self.paused.clear)

    def sending(self, *addresses: str, seconds: float = 60.0) -> list[asyncio.Task[Outcome]]:
        """Mails to all of them, under way."""
        deadline = time.monotonic() + seconds
        deliver = self.succession.deliver
        return [
            asyncio.create_task(_outcome(deliver(mail_to(address), urgent=False, deadline=deadline)))
            for address in addresses
        ]

    @asynccontextmanager
    async def guarded(self) -> AsyncIterator[None]:
        """Outages are watched for in the block."""
        guard = asyncio.create_task(self.succession.guard())
        try:
            yield
        finally:
            guard.cancel()
            await asyncio.wait({guard})


async def _outcome(delivering: Awaitable[Outcome]) -> Outcome:
    return await delivering


async def _at_once() -> None:
    pass


async def _never(
    exchange: str, key: str, message: aio_pika.Message, *, into: str, patience: float | None
) -> None:
    raise AssertionError


async def test_a_mail_on_a_session_ends_there_and_those_that_wait_go_over_the_new_one() -> None:
    """None is cut, none is told that it has to wait for a redelivery, each arrives once."""
    async with SmtpServer() as old, SmtpServer() as new:
        old.delay("BODY", 0.5)
        worker = Worker(ground(old, NOTIFY_SMTP_MAX_SESSIONS="1"))
        mails = worker.sending(*(f"{number}@x" for number in range(6)))
        await old.reached["BODY"].wait()
        assert worker.succession.replace(ground(new, NOTIFY_SMTP_MAX_SESSIONS="1"))
        outcomes = await asyncio.gather(*mails)
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        arrived = [mail.recipients[0] for server in (old, new) for mail in server.accepted]
        assert sorted(arrived) == [f"{number}@x" for number in range(6)]
        assert 1 <= len(old.accepted) <= 2
        await until(lambda: not old.open_connections)
        await worker.succession.close()


async def test_a_refusal_of_the_old_login_is_no_verdict_where_there_is_a_new_one() -> None:
    """It arrives with the new password, although the old one was refused to it."""
    login = {"EmailSmtpUsername": "cms", "NOTIFY_SMTP_MAX_SESSIONS": "2"}
    async with SmtpServer(mechanisms=("PLAIN",), users={"cms": "new-one"}, login_required=True) as server:
        server.delay("AUTH", 0.3, times=1)
        worker = Worker(ground(server, EmailSmtpPassword="old-one", **login))
        mails = worker.sending(*(f"{number}@x" for number in range(6)))
        await server.reached["AUTH"].wait()
        worker.succession.replace(ground(server, EmailSmtpPassword="new-one", **login))
        outcomes = await asyncio.gather(*mails)
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        assert [entry.secret for entry in server.logins].count("old-one") == 1
        assert worker.redact("535 old-one new-one") == "535 old-one <secret>"
        await worker.succession.close()


async def test_a_refusal_of_the_settings_in_force_is_one() -> None:
    """Nothing is tried again for ever."""
    async with SmtpServer() as server:
        worker = Worker(ground(server))
        worker.succession.replace(ground(server, EmailSmtpUseOAuth2="true"))
        (mail,) = worker.sending("a@x")
        with pytest.raises(PermanentError) as refusal:
            await mail
        assert refusal.value.reason is Reason.OAUTH2_REQUIRES_TLS
        await worker.succession.close()


async def test_nothing_takes_over_from_a_worker_that_drains() -> None:
    """Else mail would begin again."""
    async with SmtpServer() as server:
        worker = Worker(ground(server))
        worker.succession.close_to_new_mail()
        assert not worker.succession.replace(ground(server))
        assert await worker.sending("a@x")[0] == Interrupted("drain")
        await worker.succession.close()


async def test_messages_a_minute_are_counted_on() -> None:
    """Whoever reloads does not send twice as many as the server allows."""
    async with SmtpServer() as server:
        worker = Worker(ground(server, NOTIFY_SMTP_MESSAGES_PER_MINUTE="4"))
        await asyncio.gather(*worker.sending("1@x", "2@x"))
        for timeout in ("20", "21", "22"):
            rated = {"NOTIFY_SMTP_MESSAGES_PER_MINUTE": "4", "NOTIFY_SMTP_TIMEOUT_SECONDS": timeout}
            worker.succession.replace(ground(server, **rated))
        outcomes = await asyncio.gather(*worker.sending("3@x", "4@x", seconds=1.0))
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Delivered", "Interrupted"]
        await worker.succession.close()


async def test_an_outage_is_handed_down_until_a_probe_ends_it() -> None:
    """Consuming goes on when the new settings have connected, not before."""
    async with SmtpServer() as server:
        worker = Worker(ground(server, EmailSmtpPort=str(closed_port())))
        async with worker.guarded():
            await asyncio.gather(*worker.sending("1@x", "2@x", "3@x"))
            await until(worker.paused.is_set)
            worker.succession.replace(ground(server, EmailSmtpPort=str(closed_port())))
            await asyncio.sleep(0.2)
            assert worker.paused.is_set()
            worker.succession.replace(ground(server))
            await until(lambda: not worker.paused.is_set())
        await worker.succession.close()


async def test_an_outage_ends_at_once_where_the_new_settings_send_nothing() -> None:
    """There is nothing to probe: each event is told so."""
    async with SmtpServer() as server:
        worker = Worker(ground(server, EmailSmtpPort=str(closed_port())))
        async with worker.guarded():
            await asyncio.gather(*worker.sending("1@x", "2@x", "3@x"))
            await until(worker.paused.is_set)
            worker.succession.replace(ground(server, EmailSmtpUseOAuth2="true"))
            await until(lambda: not worker.paused.is_set())
        await worker.succession.close()


@pytest.mark.parametrize(
    ("changed", "known"),
    [
        ({"EmailSmtpPassword": "new-one"}, True),
        ({"EmailSmtpPassword": ""}, False),
        ({"EmailSmtpUseSSL": "true"}, False),
        ({"NOTIFY_SMTP_MAX_SESSIONS": "5"}, True),
    ],
    ids=["another password", "no password", "another encryption", "other limits"],
)
async def test_that_the_settings_worked_before_is_known_as_long_as_the_way_is_the_same(
    *, changed: dict[str, str], known: bool
) -> None:
    """What never connected and shows a fault of the settings is theirs; what did connect is an outage."""
    login = {"EmailSmtpUsername": "cms", "EmailSmtpPassword": "old-one"}
    async with SmtpServer(mechanisms=("PLAIN",), users={"cms": "old-one"}) as server:
        worker = Worker(ground(server, **login))
        await asyncio.gather(*worker.sending("1@x"))
        worker.succession.replace(ground(server, **{**login, **changed}))
        assert worker.succession.current.outage.ever_connected is known
        await worker.succession.close()


async def test_a_server_that_says_nothing_holds_mail_no_longer_than_one_attempt_to_connect() -> None:
    """The attempt under way ends by its time-out; none begins anew with the old settings."""
    with silent_port() as port:
        async with SmtpServer() as server:
            worker = Worker(ground(server, EmailSmtpPort=str(port), NOTIFY_SMTP_TIMEOUT_SECONDS="1"))
            mails = worker.sending("1@x", "2@x", "3@x")
            await asyncio.sleep(0.2)
            worker.succession.replace(ground(server))
            async with asyncio.timeout(15):  # the time-out, and a look at what the port speaks
                outcomes = await asyncio.gather(*mails)
            assert all(isinstance(outcome, Delivered) for outcome in outcomes)
            await worker.succession.close()
