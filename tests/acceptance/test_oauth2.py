"""OAuth2 with the worker as a process: tokens fetched, refused, renewed, and never seen."""

from contracts import error_texts
from contracts.dead_letter import DeadLetter
from tests.acceptance.conftest import MAILBOX, SECRET, Cloud
from tests.support.examples import SYSTEM, changed, fresh_example

REFUSED = "535 5.7.3 Authentication unsuccessful [LO4P265CA0123.GBRP265.PROD.OUTLOOK.COM]"


async def test_one_token_serves_many_mails_and_is_never_seen(cloud: Cloud) -> None:
    """Asked for once, with the Microsoft scope; neither token nor secret is in the log."""
    world = cloud.world
    for _ in range(20):
        await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**cloud.settings)
    await world.smtp.until_accepted(40)
    (request,) = cloud.tokens.requests
    assert request.path == "/broddu-tenant/oauth2/v2.0/token"
    assert request.form["scope"] == "https://outlook.office365.com/.default"
    assert {accepted.login for accepted in world.smtp.accepted} == {MAILBOX}
    assert "token-1" not in worker.text
    assert SECRET not in worker.text


async def test_a_refused_token_is_replaced_once_before_anything_is_blamed(cloud: Cloud) -> None:
    """A permission granted after the token was issued needs a new token."""
    cloud.trust("token-1", "token-2")
    await cloud.world.publish(fresh_example(SYSTEM))
    await cloud.world.worker(**cloud.settings)
    await cloud.world.smtp.until_accepted(2)
    assert cloud.tokens.issued == ["token-1", "token-2"]
    assert await cloud.world.dead_letters() == {}


async def test_a_refused_login_waits_for_its_permissions(cloud: Cloud) -> None:
    """Nothing dies within the grace; when the permission has spread, the mail goes."""
    world = cloud.world
    world.smtp.answer("AUTH", REFUSED)
    await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**cloud.settings)
    await worker.until_said(outcome="retry", code="smtp-authentication-refused", times=2)
    assert await world.dead_letters() == {}
    assert worker.said(action="login-refused")
    assert len(world.smtp.logins) + world.smtp.connections <= 8


async def test_after_the_grace_a_refused_login_is_a_configuration_error(cloud: Cloud) -> None:
    """With the guide's row, the server's reply in the detail, and both onboarding paths in the hint."""
    world = cloud.world
    world.smtp.answer("AUTH", REFUSED)
    await world.publish(fresh_example(SYSTEM))
    await world.worker(**cloud.settings, NOTIFY_AUTH_GRACE_SECONDS="0")
    letter = DeadLetter.from_headers((await world.dead("config")).headers)
    assert letter.text == error_texts.AUTHENTICATION_UNSUCCESSFUL
    assert letter.detail.startswith("535 5.7.3 Authentication unsuccessful")
    assert "SMTP.SendAsApp" in letter.hint
    assert "Application SMTP.SendAsApp" in letter.hint


async def test_a_wrong_secret_names_the_settings_to_change(cloud: Cloud) -> None:
    """At once, with what Entra ID said, and asked for it once."""
    world = cloud.world
    for _ in range(10):
        await world.publish(fresh_example(SYSTEM))
    wrong = {**cloud.settings, "EmailSmtpOAuth2ClientSecret": "wr0ng-secret"}
    worker = await world.worker(**wrong)
    letter = DeadLetter.from_headers((await world.dead("config")).headers)
    assert letter.code == "oauth2-client-refused"
    assert "EmailSmtpOAuth2ClientSecret" in letter.setting
    assert "invalid_client" in letter.detail
    await worker.until_said(outcome="dead", times=20)
    assert len(cloud.tokens.requests) <= 2
    assert "wr0ng-secret" not in worker.text + str(letter)


async def test_a_token_endpoint_that_is_down_is_waited_for(cloud: Cloud) -> None:
    """It is the server's trouble: consuming pauses, nothing dies, and it goes on when it is back."""
    world = cloud.world
    await cloud.tokens.stop()
    await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**cloud.settings)
    await worker.until_said(action="pause", code="token-unavailable")
    assert await world.dead_letters() == {}
    await cloud.tokens.start()
    await world.smtp.until_accepted(2, within=30)


async def test_two_senders_without_a_user_name_log_in_as_two(cloud: Cloud) -> None:
    """The From decides; another login's mail never waits for a refused one."""
    world = cloud.world
    world.smtp.tokens = {"a@broddu.example": "token-1"}
    for name in "ab":
        await world.publish(changed(fresh_example(SYSTEM), "data.from", f"{name}@broddu.example"))
    worker = await world.worker(**{**cloud.settings, "EmailSmtpUsername": ""})
    await world.smtp.until_accepted(2)
    assert {accepted.login for accepted in world.smtp.accepted} == {"a@broddu.example"}
    await worker.until_said(outcome="retry", code="smtp-authentication-refused", times=2)


async def test_no_session_outlives_its_token(cloud: Cloud) -> None:
    """Tokens of a few seconds while mail flows: every mail arrives once, and no login is refused."""
    world = cloud.world
    cloud.tokens.lifetime = 8
    world.smtp.delay("BODY", 0.2)
    for _ in range(60):
        await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(**cloud.settings)
    await world.smtp.until_accepted(120, within=60)
    assert all(login.ok for login in world.smtp.logins)
    assert not worker.said(outcome="retry")
    assert len({mail["Message-ID"] for mail in world.mails()}) == len(world.mails()) == 120
