"""A login's trouble, with the worker as a process: in the guide's words, and for a handful of tries."""

from contracts import error_texts
from contracts.dead_letter import DeadLetter
from tests.acceptance.conftest import World
from tests.support.examples import SYSTEM, changed, fresh_example

EVENTS = 1_000
REFUSED = "535 5.7.3 Authentication unsuccessful [LO4P265CA0123.GBRP265.PROD.OUTLOOK.COM]"


async def test_a_wrong_password_costs_the_server_a_handful_of_logins(world: World) -> None:
    """A thousand events are dead letters with the guide's row; the server's own words stand in the detail."""
    world.smtp.users, world.smtp.mechanisms = {"cms": "right"}, ("PLAIN",)
    world.smtp.answer("AUTH", REFUSED)
    for _ in range(EVENTS):
        await world.publish(fresh_example(SYSTEM))
    worker = await world.worker(EmailSmtpUsername="cms", EmailSmtpPassword="wr0ng-password")
    await worker.until_said(outcome="dead", code="smtp-authentication-refused", times=2 * EVENTS)
    letter = DeadLetter.from_headers((await world.dead("config")).headers)
    assert letter.text == error_texts.AUTHENTICATION_UNSUCCESSFUL
    assert letter.detail.startswith("535 5.7.3 Authentication unsuccessful")
    assert world.smtp.connections <= 5
    assert "wr0ng-password" not in worker.text


async def test_a_sender_that_is_not_allowed_costs_the_server_a_handful_of_transactions(world: World) -> None:
    """The refusal comes after the final dot; another sender's mail goes through all the same."""
    denied = "554 5.2.252 SendAsDenied; cms not allowed to send as boss; STOREDRV.Submission.Exception"
    world.smtp.answer("BODY", denied, to="d.pritchard@broddu.example")
    event = fresh_example(SYSTEM)
    event["data"]["recipients"] = [event["data"]["recipients"][1]]
    for number in range(EVENTS):
        await world.publish({**changed(event, "data.from", "boss@broddu.example"), "id": f"boss-{number}"})
    allowed = changed(
        fresh_example(SYSTEM), "data.recipients", [fresh_example(SYSTEM)["data"]["recipients"][0]]
    )
    await world.publish(allowed)
    worker = await world.worker()
    await worker.until_said(outcome="dead", code="smtp-send-as-denied", times=EVENTS)
    await world.smtp.until_accepted(1)
    assert world.recipients() == ["h.okafor@broddu.example"]
    assert sum(command.startswith("MAIL FROM:<boss@") for command in world.smtp.commands) <= 5
