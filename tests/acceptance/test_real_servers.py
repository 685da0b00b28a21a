"""The worker as a process with real servers: every documented way to send, and what they do to a sender.

Postfix says in the mail itself how it came: the login, and the version of TLS.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import pytest

from contracts import error_texts
from contracts.dead_letter import DeadLetter
from tests.acceptance.conftest import World
from tests.support.amqp import until
from tests.support.examples import FORM, SYSTEM, changed, event_of, fresh_example
from tests.support.postfix import Stored
from tests.support.real_servers import (
    BASIC,
    DOCUMENTED,
    MAILBOX,
    OTHER_MAILBOX,
    SECRET,
    USER,
    WAYS,
    RealServers,
)
from tests.support.worker import Worker
from worker.address import parse_mailbox
from worker.mime import compose
from worker.render import Renderer

RENDERER: Final = Renderer(default_sender=parse_mailbox(MAILBOX))
STORED_SECONDS: Final = 60.0


def mails_of(event: Mapping[str, Any]) -> dict[str, bytes]:
    """What has to arrive for an event: address -> the bytes of the mail."""
    parsed = event_of(dict(event))
    letters = [RENDERER.render(parsed, to).letter for to in RENDERER.addressees(parsed) if to.wanted]
    return {letter.to.address: compose(letter) for letter in letters}


async def stored(real: RealServers, count: int) -> list[Stored]:
    """The mails in the Maildir once there are `count`, and that there are no more."""
    await until(lambda: real.postfix.stored >= count, STORED_SECONDS)
    mails = real.postfix.mails()
    assert len(mails) == count
    return mails


async def dead_letter(world: World) -> DeadLetter:
    """The next dead letter that blames the settings."""
    return DeadLetter.from_headers((await world.dead("config")).headers)


def retries(worker: Worker) -> list[dict[str, Any]]:
    """The log lines of attempts that counted and failed."""
    return worker.said(outcome="retry")


@pytest.mark.parametrize(("encryption", "way"), DOCUMENTED)
async def test_every_documented_way_to_send_delivers(
    encryption: str, way: str, world: World, real: RealServers
) -> None:
    """An event's mails arrive byte for byte as rendered, by the login and encryption that were set."""
    event = fresh_example(SYSTEM)
    await world.publish(event)
    worker = await world.worker(**real.settings(encryption, way))
    mails = await stored(real, 2)
    assert {mail.recipient: mail.content for mail in mails} == mails_of(event)
    assert {mail.login for mail in mails} == {WAYS[way].login}
    assert {mail.tls_version for mail in mails} == {"" if encryption == "none" else "TLSv1.3"}
    assert await world.dead_letters() == {}
    assert SECRET not in worker.text


@pytest.mark.parametrize("way", ["XOAUTH2 Entra", "XOAUTH2 generic"])
async def test_oauth2_without_encryption_is_a_dead_letter_in_the_guides_words(
    way: str, world: World, real: RealServers
) -> None:
    """And nobody is asked for anything."""
    await world.publish(fresh_example(SYSTEM))
    await world.worker(**real.settings("none", way))
    letter = await dead_letter(world)
    assert (letter.code, letter.text) == ("oauth2-requires-tls", error_texts.OAUTH2_REQUIRES_TLS)
    assert (real.identity.control()["requests"], real.postfix.connections()) == (0, 0)


@pytest.mark.parametrize(
    ("encryption", "listener", "code"),
    [
        ("implicit", "starttls", "smtp-port-mismatch"),
        ("starttls", "none", "smtp-starttls-missing"),
        ("starttls", "starttls-old", "smtp-tls-version"),
        ("implicit", "implicit-untrusted", "smtp-certificate"),
    ],
)
async def test_a_way_in_that_never_fitted_is_a_dead_letter_at_once(
    encryption: str, listener: str, code: str, world: World, real: RealServers
) -> None:
    """A mismatch cannot heal: the guide's row where it has one, the settings at fault, and nothing sent."""
    await world.publish(fresh_example(SYSTEM))
    port = {"EmailSmtpPort": str(real.postfix.port(listener))}
    await world.worker(**{**real.connection(encryption), **port})
    letter = await dead_letter(world)
    assert letter.code == code
    if code in {"smtp-port-mismatch", "smtp-tls-version"}:
        assert letter.text == error_texts.CONNECTION_FAILS
    assert letter.setting
    assert real.postfix.logged("client=") == 0


async def test_two_from_addresses_without_a_user_name_log_in_as_two(
    world: World, two_mailboxes: RealServers
) -> None:
    """A form's notification from the default From, and its answer from the form's own."""
    real = two_mailboxes
    event = fresh_example(FORM)
    await world.publish(event)
    await world.worker(**real.settings("starttls", "XOAUTH2 Entra"))
    mails = await stored(real, len(mails_of(event)))
    assert {mail.sender: mail.login for mail in mails} == {MAILBOX: MAILBOX, OTHER_MAILBOX: OTHER_MAILBOX}
    assert {mail.recipient: mail.content for mail in mails} == mails_of(event)
    assert real.identity.control()["issued"] == 1


@pytest.mark.parametrize(
    ("way", "wrong", "words"),
    [
        ("XOAUTH2 Entra", {"EmailSmtpOAuth2ClientSecret": SECRET.swapcase()}, "invalid_client AADSTS7000215"),
        ("XOAUTH2 Entra", {"EmailSmtpOAuth2AzureTenantId": "elsewhere"}, "invalid_request AADSTS90002"),
        ("XOAUTH2 generic", {"EmailSmtpOAuth2ClientSecret": SECRET.swapcase()}, "invalid_client"),
    ],
)
async def test_a_refused_client_is_a_dead_letter_that_names_the_settings(
    way: str, wrong: dict[str, str], words: str, world: World, real: RealServers
) -> None:
    """With what the identity provider said; ten events cost it a request or two, and the mail server none."""
    for _ in range(10):
        await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**{**real.settings("starttls", way), **wrong})
    letter = await dead_letter(world)
    await worker.until_said(outcome="dead", times=20)
    assert letter.code == "oauth2-client-refused"
    assert words in letter.detail
    assert set(wrong) <= set(letter.setting.replace(",", " ").split())
    assert (real.identity.control()["requests"], real.postfix.connections()) in {(1, 0), (2, 0)}
    assert wrong.get("EmailSmtpOAuth2ClientSecret", "never") not in worker.text


async def test_a_wrong_password_is_a_dead_letter_with_the_guides_row(world: World, real: RealServers) -> None:
    """And the server's reply in the detail; ten events cost the server a handful of logins."""
    for _ in range(10):
        await world.publish(fresh_example(SYSTEM))
    wrong = {**real.settings("starttls", "basic PLAIN"), "EmailSmtpPassword": "wr0ng-password"}
    worker = await world.worker(**wrong)
    letter = await dead_letter(world)
    await worker.until_said(outcome="dead", times=20)
    assert (letter.code, letter.text) == (
        "smtp-authentication-refused",
        error_texts.AUTHENTICATION_UNSUCCESSFUL,
    )
    assert letter.detail.startswith("535 5.7.8 ")
    assert real.postfix.logged("authentication failed") <= 5
    assert "wr0ng-password" not in worker.text + str(letter)


@pytest.mark.parametrize("how", ["answers 503", "is not there", "throttles"])
async def test_a_token_server_that_is_away_is_waited_for(how: str, world: World, real: RealServers) -> None:
    """Nothing dies and no attempt counts; when it is back, everything is delivered once."""
    trouble = {"down": True} if how == "answers 503" else {"throttled": 3, "retryAfter": 1}
    real.identity.control(**trouble)
    if how == "is not there":
        real.identity.stop()
    for _ in range(10):
        await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**real.settings("starttls", "XOAUTH2 Entra"))
    if how != "throttles":
        await worker.until_said(action="pause", code="token-unavailable")
    if how == "is not there":
        real.identity.start()
    real.identity.control(down=False)
    await stored(real, 20)
    assert await world.dead_letters() == {}
    assert retries(worker) == []


MAILS: Final = 500
BATCH: Final = 25
TOKEN_SECONDS: Final = 4


async def publish_over(world: World, seconds: float) -> None:
    """Publishes events with `MAILS` mails together, in batches, spread over so many seconds."""
    events = [fresh_example(SYSTEM) for _ in range(MAILS // 2)]
    for start in range(0, len(events), BATCH):
        await asyncio.gather(*(world.publish(event) for event in events[start : start + BATCH]))
        await asyncio.sleep(seconds * BATCH / len(events))


async def test_tokens_that_expire_while_500_mails_are_sent_cost_nothing(
    world: World, real: RealServers
) -> None:
    """None lost, none twice, no session refused, and one request for each token."""
    real.identity.control(lifetime=TOKEN_SECONDS)
    worker = await world.worker(**real.settings("starttls", "XOAUTH2 Entra"))
    await publish_over(world, 3 * TOKEN_SECONDS)
    mails = await stored(real, MAILS)
    assert len({mail.message["Message-ID"] for mail in mails}) == MAILS
    tokens = real.identity.control()
    assert tokens["requests"] == tokens["issued"] >= 3
    assert tokens["issued"] <= 3 * TOKEN_SECONDS
    assert real.postfix.logged("authentication failed") == 0
    assert retries(worker) == []
    assert await world.dead_letters() == {}


async def test_tokens_that_are_revoked_while_500_mails_are_sent_are_replaced(
    world: World, real: RealServers
) -> None:
    """Each new session is refused once at most, and then there is another token: none lost, none twice."""
    sessions = 4
    settings = real.settings("starttls", "XOAUTH2 generic")
    worker = await world.worker(**settings, NOTIFY_SMTP_MAX_SESSIONS=str(sessions))
    publishing = asyncio.create_task(publish_over(world, 4))
    await until(lambda: real.postfix.stored >= MAILS // 5, STORED_SECONDS)
    real.identity.revoke_tokens()
    await publishing
    mails = await stored(real, MAILS)
    assert len({mail.message["Message-ID"] for mail in mails}) == MAILS
    assert 1 <= real.postfix.logged("authentication failed") <= sessions
    assert real.identity.control()["issued"] == 2
    assert retries(worker) == []
    assert await world.dead_letters() == {}


async def test_a_server_that_closes_idle_sessions_costs_no_attempt(world: World, real: RealServers) -> None:
    """The sessions of one batch are dead when the next one comes."""
    worker = await world.worker(**real.connection("impatient"), **BASIC)
    for batch in (1, 2, 3):
        for _ in range(10):
            await world.publish(fresh_example(SYSTEM))
        await stored(real, 20 * batch)
        await until(lambda: real.postfix.everybody_left("impatient"))
    assert real.postfix.logged("timeout after", "impatient") > 0
    assert retries(worker) == []
    assert worker.said(action="pause") == []
    assert await world.dead_letters() == {}


@pytest.mark.parametrize("listener", ["two-sessions", "implicit-two-sessions"])
async def test_a_server_that_allows_two_sessions_gets_two(
    listener: str, world: World, real: RealServers
) -> None:
    """The third is refused: nothing is lost, no attempt counts, the worker goes on with two and hardly asks."""
    for _ in range(50):
        await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**real.connection(listener))
    mails = await stored(real, 100)
    assert len({mail.message["Message-ID"] for mail in mails}) == 100
    assert real.postfix.logged("too many connections", listener) <= 8
    assert retries(worker) == []
    assert worker.said(action="pause") == []
    assert await world.dead_letters() == {}


async def test_one_refused_address_never_holds_up_the_others(world: World, real: RealServers) -> None:
    """One event, one of its two addresses refused: the other gets its mail once, the refused one is named."""
    event = changed(fresh_example(SYSTEM), "data.recipients.0.email", "unknown@refused.example")
    await world.publish(event)
    await world.worker(**real.settings("implicit", "basic PLAIN"))
    (mail,) = await stored(real, 1)
    assert (mail.recipient, mail.login) == ("d.pritchard@broddu.example", USER)
    letter = DeadLetter.from_headers((await world.dead("exhausted")).headers)
    assert (letter.dead_class, letter.code, letter.owed) == ("rejected", "recipient-refused", "0")
    assert letter.detail.startswith("550 5.1.1 ")
