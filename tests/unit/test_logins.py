"""A login's trouble: remembered, answered from memory, tried again slowly."""

import asyncio
import time

import pytest
from pydantic import SecretStr

from contracts.dead_letter import Reason
from worker.connector import NotAdmittedError
from worker.errors import NotifyError, PermanentError, Scope, TransientError
from worker.logins import REFUSALS, Logins
from worker.smtp.plan import Anonymous, Basic, ConnectionPlan, Encryption, OAuth2
from worker.smtp.pool import BudgetSpentError

BASIC = ConnectionPlan("smtp.example", 587, Encryption.STARTTLS, Basic("cms", SecretStr("x")))
TOKEN = ConnectionPlan(
    "smtp.office365.com",
    587,
    Encryption.STARTTLS,
    OAuth2("cms@x.example", "client", SecretStr("x"), "https://login.example/token", ""),
)
ANONYMOUS = ConnectionPlan("relay.example", 25, Encryption.NONE, Anonymous())
SENDER = "cms@x.example"
REFUSED = PermanentError(Reason.SMTP_AUTHENTICATION_REFUSED, "535 5.7.3 Authentication unsuccessful")
BUSY = TransientError(Reason.SMTP_BUSY, scope=Scope.MESSAGE)


class Server:
    """Counts the tries that reach it, and answers each the same way."""

    def __init__(self, answer: Exception | None, *, grace_seconds: float = 1800.0) -> None:
        self.answer = answer
        self.tries = 0
        self.now = float(int(time.monotonic()))  # whole, so that sums are exact
        self.logins = Logins(grace_seconds=grace_seconds, clock=lambda: self.now)

    async def send(self, plan: ConnectionPlan = BASIC, sender: str = SENDER) -> NotifyError | None:
        """How one mail ended: None for accepted."""
        try:
            async with self.logins.trial(plan, sender, urgent=False, deadline=self.now + 60):
                self.tries += 1
                await asyncio.sleep(0)
                if self.answer:
                    raise self.answer
        except NotifyError as error:
            return error
        return None

    async def burst(self, mails: int, plan: ConnectionPlan = BASIC) -> list[NotifyError | None]:
        """How many mails at once ended."""
        return await asyncio.gather(*(self.send(plan) for _ in range(mails)))


@pytest.mark.parametrize("reason", sorted(REFUSALS))
async def test_a_thousand_mails_of_a_refused_login_cost_one_try(reason: Reason) -> None:
    """All of them are told why."""
    server = Server(PermanentError(reason, "535 5.7.8 no", hint="do this"))
    ends = await server.burst(1000)
    assert server.tries == 1
    for end in ends:
        assert isinstance(end, PermanentError)
        assert (end.reason, end.detail, end.hint) == (reason, "535 5.7.8 no", "do this")


async def test_a_refused_login_is_tried_again_ever_more_slowly() -> None:
    """After one minute, two, four, and then every five."""
    server = Server(REFUSED)
    tried_at = []
    for second in range(0, 1200, 10):
        before = server.tries
        await server.send()
        if server.tries > before:
            tried_at.append(second)
        server.now += 10
    assert tried_at == [0, 60, 180, 420, 720, 1020]


async def test_a_login_that_is_let_in_again_is_forgiven() -> None:
    """And its mails go at once, side by side."""
    server = Server(REFUSED)
    await server.send()
    server.answer, server.now = None, server.now + 60
    assert await server.burst(10) == [None] * 10
    assert server.tries == 11


async def test_a_refused_oauth2_login_waits_for_its_permissions_and_then_counts() -> None:
    """For the grace its mail may be tried again; after it, it is the settings' fault."""
    server = Server(REFUSED, grace_seconds=100)
    first, second = await server.burst(2, TOKEN)
    for end, hint in ((first, 60), (second, 60)):
        assert isinstance(end, TransientError)
        assert (end.reason, end.scope, end.retry_after) == (REFUSED.reason, Scope.LOGIN, hint)
    server.now += 60
    end = await server.send(TOKEN)
    assert isinstance(end, TransientError)
    assert end.retry_after == 40
    server.now += 41
    assert isinstance(await server.send(TOKEN), PermanentError)
    assert server.tries == 2


async def test_without_grace_an_oauth2_login_is_refused_at_once() -> None:
    """NOTIFY_AUTH_GRACE_SECONDS may be 0."""
    assert isinstance(await Server(REFUSED, grace_seconds=0).send(TOKEN), PermanentError)


async def test_a_wrong_client_secret_does_not_heal() -> None:
    """Only permissions spread; a secret stays wrong."""
    refusal = PermanentError(Reason.OAUTH2_CLIENT_REFUSED)
    assert isinstance(await Server(refusal).send(TOKEN), PermanentError)


async def test_another_login_and_another_sender_never_wait() -> None:
    """Each has a standing of its own."""
    server = Server(REFUSED)
    await server.send(BASIC)
    server.answer = None
    assert await server.send(TOKEN) is None
    assert await server.send(BASIC, "other@x.example") is None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(BUSY, id="this message's trouble"),
        pytest.param(PermanentError(Reason.RECIPIENT_REFUSED), id="a refused recipient"),
        pytest.param(None, id="accepted"),
    ],
)
async def test_a_sender_is_proven_by_any_answer_that_is_not_against_it(answer: Exception | None) -> None:
    """From then on its mails go side by side."""
    server = Server(answer)
    await server.send()
    most = await _most_at_once(server.logins, 5)
    assert most == 5


async def test_the_first_mail_of_a_sender_goes_alone() -> None:
    """Nobody knows yet whether the server lets it."""
    server = Server(None)
    order: list[str] = []

    async def send(name: str) -> None:
        async with server.logins.trial(BASIC, SENDER, urgent=False, deadline=server.now + 60):
            order.append(f"{name} begins")
            await asyncio.sleep(0.01)
            order.append(f"{name} ends")

    await asyncio.gather(*(send(name) for name in "abc"))
    assert order[:2] == ["a begins", "a ends"]
    assert set(order[2:4]) == {"b begins", "c begins"}


async def test_who_waits_for_the_first_mail_waits_no_longer_than_its_budget() -> None:
    """A first mail that hangs does not hold the others."""
    server = Server(None)
    async with server.logins.trial(BASIC, SENDER, urgent=False, deadline=server.now + 60):
        with pytest.raises(BudgetSpentError):
            async with server.logins.trial(BASIC, SENDER, urgent=False, deadline=server.now + 0.02):
                pass


async def _most_at_once(logins: Logins, mails: int) -> int:
    now, most = 0, 0

    async def send() -> None:
        nonlocal now, most
        async with logins.trial(BASIC, SENDER, urgent=False, deadline=time.monotonic() + 60):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1

    await asyncio.gather(*(send() for _ in range(mails)))
    return most


async def test_an_urgent_mail_does_not_wait_for_a_standard_one_of_its_sender() -> None:
    """Each lane has a first mail of its own."""
    server = Server(None)
    async with (
        server.logins.trial(BASIC, SENDER, urgent=False, deadline=server.now + 60),
        server.logins.trial(BASIC, SENDER, urgent=True, deadline=server.now + 0.05),
    ):
        pass


async def test_what_was_found_out_before_the_server_was_asked_says_nothing_of_the_sender() -> None:
    """An expired mail neither proves a sender nor clears a refusal."""
    server = Server(PermanentError(Reason.EXPIRED))
    await server.send()
    server.answer = REFUSED
    await server.burst(10)
    assert server.tries == 2


async def test_a_blocked_mailbox_is_left_alone_as_long_as_it_asks() -> None:
    """Exchange blocks a mailbox the longer, the more it is tried: a thousand mails cost one try."""
    blocked = TransientError(Reason.SMTP_THROTTLED, "550 5.2.252", scope=Scope.LOGIN, retry_after=1800.0)
    server = Server(blocked)
    ends = await server.burst(1000)
    assert server.tries == 1
    assert all(isinstance(end, TransientError) and end.retry_after == 1800 for end in ends)
    server.now += 1801
    server.answer = None
    assert await server.send() is None


async def test_whatever_keeps_a_session_from_opening_is_remembered() -> None:
    """A server that refuses this host at its greeting is not asked for every mail."""
    server = Server(NotAdmittedError(Reason.SMTP_RELAY_REFUSED, "554 go away"))
    await server.burst(1000)
    assert server.tries == 1


async def test_mails_refused_together_count_as_one_refusal() -> None:
    """Of a proven sender several are under way at once: the wait grows once a try, not once a mail."""
    server = Server(None)
    await server.send()
    server.answer = REFUSED
    await server.burst(8)
    server.now += 60
    before = server.tries
    await server.send()
    assert server.tries == before + 1


NEEDS_LOGIN = PermanentError(
    Reason.SMTP_AUTHENTICATION_MISSING, "550 authentication required", of_one_mail=True
)
BAD_SENDER = PermanentError(Reason.SMTP_SEND_AS_DENIED, "554 Sender address rejected", of_one_mail=True)


@pytest.mark.parametrize(
    ("plan", "served_before", "refusal", "ends_as", "remembered"),
    [
        pytest.param(
            BASIC, False, NEEDS_LOGIN, Reason.MESSAGE_REFUSED, False, id="who has logged in needs no login"
        ),
        pytest.param(
            TOKEN, True, NEEDS_LOGIN, Reason.MESSAGE_REFUSED, False, id="nor does one that was served before"
        ),
        pytest.param(ANONYMOUS, True, NEEDS_LOGIN, NEEDS_LOGIN.reason, False, id="a relay for some recipients"),
        pytest.param(ANONYMOUS, False, NEEDS_LOGIN, NEEDS_LOGIN.reason, True, id="a relay that knows nobody"),
        pytest.param(BASIC, True, BAD_SENDER, BAD_SENDER.reason, False, id="a recipient who refuses a sender"),
        pytest.param(BASIC, False, BAD_SENDER, BAD_SENDER.reason, True, id="a sender that nobody knows"),
    ],
)
async def test_what_is_said_of_one_recipient_is_not_held_against_a_good_login(
    plan: ConnectionPlan, refusal: PermanentError, ends_as: Reason, *, served_before: bool, remembered: bool
) -> None:
    """Lists for members only, relays for their own domains: the other mails of this sender go on."""
    server = Server(None)
    if served_before:
        assert await server.send(plan) is None
    server.answer = refusal
    end = await server.send(plan)
    assert isinstance(end, PermanentError)
    assert (end.reason, end.detail) == (ends_as, refusal.detail)
    server.answer, tries = None, server.tries
    assert (await server.send(plan) is None) is not remembered
    assert (server.tries == tries) is remembered
