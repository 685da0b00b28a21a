"""The mail server goes away and comes back: nothing is lost, nothing counted, nothing in a dead queue."""

import asyncio
from datetime import UTC, datetime, timedelta

from contracts import error_texts
from contracts.dead_letter import DeadLetter, rfc3339
from tests.acceptance.conftest import World
from tests.support.examples import PASSWORD_RESET, SYSTEM, changed, fresh_example

EVENTS = 40


async def test_an_outage_pauses_consuming_and_ends_in_every_mail_delivered_once(world: World) -> None:
    """Under load: paused, probed by connecting only, resumed; no attempt is counted."""
    for _ in range(EVENTS):
        await world.publish(fresh_example(SYSTEM))
    world.smtp.delay("BODY", 0.02)
    worker = await world.worker()
    await world.smtp.until_accepted(10)
    await world.smtp.stop()
    await worker.until_said(action="pause")
    await worker.until_said(action="probe")
    assert await world.dead_letters() == {}
    await world.smtp.start()
    await worker.until_said(action="resume")
    await world.smtp.until_accepted(2 * EVENTS, within=60)
    await asyncio.sleep(0.5)
    unknown = [line for line in worker.lines if line.get("outcome") == "retry"]
    assert len(world.smtp.accepted) <= 2 * EVENTS + len(unknown)
    assert len({(mail["Message-ID"]) for mail in world.mails()}) == 2 * EVENTS
    assert await world.dead_letters() == {}


async def test_a_server_that_was_never_there_is_waited_for(world: World) -> None:
    """Refused from the first try on: an outage, not a dead letter; it begins to send when the server comes."""
    await world.smtp.stop()
    await world.publish(fresh_example(SYSTEM))
    worker = await world.worker()
    await worker.until_said(action="pause", code="smtp-unreachable")
    await world.until_unfinished({"work.standard": 1})
    assert await world.dead_letters() == {}
    await world.smtp.start()
    await world.smtp.until_accepted(2, within=30)


async def test_settings_that_never_worked_end_as_dead_letters_when_patience_ends(world: World) -> None:
    """With the guide's row, after NOTIFY_RETRY_GIVE_UP_SECONDS."""
    await world.smtp.stop()
    await world.publish(fresh_example(SYSTEM))
    await world.worker(NOTIFY_RETRY_GIVE_UP_SECONDS="2")
    letter = DeadLetter.from_headers((await world.dead("exhausted")).headers)
    assert (letter.dead_class, letter.code) == ("exhausted", "smtp-unreachable")
    assert letter.text == error_texts.CONNECTION_FAILS


async def test_what_expires_during_an_outage_is_not_sent_afterwards(world: World) -> None:
    """An expired reset link is reported, and the rest is delivered."""
    await world.smtp.stop()
    soon = rfc3339(datetime.now(UTC) + timedelta(seconds=4))
    reset = changed(fresh_example(PASSWORD_RESET), "data.reset.expires", soon)
    await world.publish(reset)
    await world.publish(fresh_example(SYSTEM))
    worker = await world.worker()
    await worker.until_said(action="pause")
    await asyncio.sleep(4)
    await world.smtp.start()
    dead = await world.dead("exhausted")
    assert (dead.headers["notify-class"], dead.headers["notify-code"]) == ("expired", "expired")
    await world.smtp.until_accepted(2, within=30)
    assert "s.morgan@broddu.example" not in world.recipients()
