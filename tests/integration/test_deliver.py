"""Mails through the courier and a real pool: they overlap, and the trouble of one is not that of the next."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

from tests.support.model_listener import ModelListener
from tests.support.smtp_model import ModelServer
from tests.support.smtp_server import SmtpServer
from worker.address import Mailbox
from worker.deliver import Courier
from worker.errors import PermanentError, TransientError
from worker.logins import Logins
from worker.mime import Letter
from worker.outage import Outage
from worker.outcome import Delivered, Retry
from worker.recent import RecentMails
from worker.render import Mail
from worker.smtp.opening import open_session, trust
from worker.smtp.plan import Anonymous, ConnectionPlan, Encryption
from worker.smtp.pool import Limits, Pool
from worker.smtp.session import Session

SENDER: Final = Mailbox("Contensis", "no-reply@contensis.example")
SESSION: Final = Limits(sessions=1)


def courier_to(server: ModelListener | SmtpServer) -> Courier:
    """One that has a single session with `server` at a time."""
    plan = ConnectionPlan(server.host, server.port, Encryption.NONE, Anonymous())
    tls = trust()

    async def opened(plan: ConnectionPlan) -> Session:
        return await open_session(plan, timeout=5.0, tls=tls, local_hostname="worker.example.com")

    return Courier(
        plan=lambda _sender: plan,
        pool=Pool(opened, lambda _plan: SESSION),
        recent=RecentMails(),
        outage=Outage(give_up_seconds=60.0),
        logins=Logins(grace_seconds=60.0),
    )


def mail_to(address: str) -> Mail:
    """A mail that can be told from others."""
    letter = Letter(
        sender=SENDER,
        to=Mailbox("", address),
        reply_to=None,
        subject=f"For {address}",
        text="Hello",
        html="<p>Hello</p>",
        date=datetime(2026, 11, 24, tzinfo=UTC),
        message_id=f"{address}.test",
        language="en",
        auto_submitted="auto-generated",
        event_id=address,
    )
    return Mail(0, address, letter, None)


async def delivered(courier: Courier, *addresses: str) -> list[object]:
    """How mails to all of them ended, sent at the same time."""
    deadline = time.monotonic() + 60
    sending = (courier.deliver(mail_to(address), urgent=False, deadline=deadline) for address in addresses)
    return await asyncio.gather(*sending, return_exceptions=True)


async def test_mails_that_wait_follow_each_other_in_one_write() -> None:
    """The server hears the end of one message and the envelope of the next at once."""
    model = ModelServer()
    addresses = [f"{number}@x" for number in range(10)]
    async with ModelListener(model) as server:
        outcomes = await delivered(courier_to(server), *addresses)
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert [recipients[0].decode() for _, recipients, _ in model.took] == addresses
    ends = [heard for heard in model.heard if b"\r\n.\r\n" in heard]
    assert sum(b"\r\n.\r\nMAIL FROM:" in heard for heard in ends) >= 7  # the first mail of a sender goes alone


async def test_the_trouble_of_one_mail_is_not_that_of_the_next() -> None:
    """Refused at the envelope or at its end, or cut there: the others arrive once, at the first attempt."""
    addresses = [f"{number}@x" for number in range(12)]
    async with SmtpServer() as server:
        server.answer("RCPT", "550 5.1.1 No such user", to="2@x")
        server.answer("BODY", "554 5.7.1 Spam", to="4@x")
        server.hang_up("BODY", to="6@x", times=1, accept=True)
        server.answer("BODY", "421 4.3.2 Closing", to="8@x", times=1)
        outcomes = dict(zip(addresses, await delivered(courier_to(server), *addresses), strict=True))
    assert {address for address, outcome in outcomes.items() if isinstance(outcome, PermanentError)} == {
        "2@x",
        "4@x",
    }
    unknown = outcomes.pop("6@x")
    assert isinstance(unknown, Retry)
    assert unknown.error.unknown
    assert sum(isinstance(outcome, Delivered) for outcome in outcomes.values()) == 9
    assert sorted(accepted.recipients[0] for accepted in server.accepted) == sorted(
        {*addresses} - {"2@x", "4@x"}
    )
    assert not any(isinstance(outcome, TransientError) for outcome in outcomes.values())
