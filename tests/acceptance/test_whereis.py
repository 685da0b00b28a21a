"""`notify-worker whereis`, as somebody uses it who is asked where a mail is."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aio_pika import Message

from contracts.topology import Lane, dead_queue, dead_stream, journal_stream, work_queue
from deploy.local.rabbitmq import free_ports
from tests.acceptance.conftest import World
from tests.support.amqp import take
from tests.support.examples import PASSWORD_RESET, SYSTEM, fresh_example
from tests.support.figures import tell
from tests.support.outcomes import outcome, write_outcomes
from tests.support.scale import SLACK, cases
from tests.support.worker import command
from worker.trail import Sought
from worker.whereis import find

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


async def whereis(world: World, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the document and stderr."""
    code, out, err = await command(["whereis", *arguments, "--json"], world.settings)
    return code, json.loads(out) if out else {}, err


async def delivered(world: World) -> dict[str, Any]:
    """An event whose one mail was delivered, with a trace of its publisher's."""
    event = fresh_example(PASSWORD_RESET)
    worker = await world.worker()
    await world.publish(event, headers={"traceparent": PARENT})
    await worker.until_said(outcome="delivered")
    return event


async def test_a_delivered_mail_is_found_by_whatever_names_it(world: World) -> None:
    """Event id, Message-ID, its left part, trace id, traceparent: in any case, with brackets and spaces."""
    event = await delivered(world)
    message_id = world.mails()[0]["Message-ID"]
    names = (
        event["id"],
        f" {event['id'].upper()} ",
        message_id,
        f"Message-ID: {message_id}",
        message_id.strip("<>"),
        message_id.strip("<>").partition("@")[0],
        TRACE,
        PARENT,
    )
    found = [await find(world.url, world.prefix, Sought.of(name)) for name in names]
    assert all(it.facts == found[0].facts for it in found)
    code, document, err = await whereis(world, f" {event['id'].upper()} ")
    assert code == 0, err
    (fact,) = document["facts"]
    assert (fact["what"], fact["event"], fact["trace"]) == ("delivered", event["id"], TRACE)
    assert fact["detail"].startswith("250 ")
    assert fact["worker"]
    assert fact["settings_rev"]
    assert document["now"][0]["state"] == "delivered"


async def test_a_line_is_printed_for_each_fact_without_addresses(world: World) -> None:
    """Oldest first, aligned for grep, and at the end where each mail is."""
    event = await delivered(world)
    code, out, err = await command(["whereis", event["id"]], world.settings)
    head, fact, now = out.splitlines()
    assert code == 0
    assert head.split() == ["AT", "WHAT", "MAIL", "SAYS"]
    assert fact.split()[2] == "delivered"
    assert TRACE in fact
    assert now.startswith("now ")
    assert "250 " in now
    assert "@" not in out + err


async def test_a_mail_that_waits_says_until_when(world: World) -> None:
    """The retry queue, the time, and afterwards both attempts."""
    event = fresh_example(PASSWORD_RESET)
    world.smtp.answer("RCPT", "450 4.2.1 Mailbox busy", times=3)
    worker = await world.worker()
    await world.publish(event)
    await worker.until_said(outcome="retry")
    _, document, _ = await whereis(world, event["id"])
    (place,) = document["now"]
    assert (place["state"], place["queue"]) == ("waiting", f"{world.prefix}.retry.10s")
    assert re.search(r"until about \d\d:\d\d:\d\d UTC \(in \d+ s\)", place["text"])
    await world.smtp.until_accepted(1, within=30)
    await worker.until_said(outcome="delivered")
    _, document, _ = await whereis(world, event["id"])
    assert [fact["what"] for fact in document["facts"]] == ["retry", "delivered"]
    assert [place["state"] for place in document["now"]] == ["delivered"]


async def test_a_dead_letter_is_told_with_its_queue_and_found_by_its_id(world: World) -> None:
    """Beside the mails that were delivered; once somebody took it out, that is told too."""
    event = fresh_example(SYSTEM)
    world.smtp.answer("RCPT", "550 5.1.1 No such user", to=event["data"]["recipients"][0]["email"])
    worker = await world.worker()
    await world.publish(event)
    await worker.until_said(outcome="dead")
    _, document, err = await whereis(world, event["id"])
    dead = next(fact for fact in document["facts"] if fact["what"] == "dead")
    assert {place["state"] for place in document["now"]} == {"delivered", "dead"}
    assert f"Next: notify-worker dead show {dead['dead_id']}" in err
    code, same, _ = await whereis(world, dead["dead_id"].lower())
    assert (code, same) == (0, document)
    await world.dead("exhausted")
    _, document, _ = await whereis(world, event["id"])
    place = next(place for place in document["now"] if place["state"] == "dead")
    assert place["text"] == f"dead in {dead_queue('exhausted', world.prefix)}, which is empty"


async def test_what_the_broker_gave_up_is_found_among_the_dead_letters(world: World) -> None:
    """No worker has recorded it; the stream of dead letters has the copy."""
    event = fresh_example(PASSWORD_RESET)
    worker = await world.worker()
    assert await worker.stop() == 0
    await world.publish(event)
    for _ in range(21):
        message = await take(world.channel, work_queue(Lane.URGENT, world.prefix))
        await message.reject(requeue=True)
    await take(world.channel, dead_queue("poison", world.prefix))
    code, document, _ = await whereis(world, event["id"])
    assert code == 0
    (fact,) = document["facts"]
    assert (fact["what"], fact["code"], fact["lane"]) == ("dead", "delivery-limit", "urgent")
    assert document["now"][0]["queue"] == dead_queue("poison", world.prefix)


async def test_since_seeks(world: World) -> None:
    """What was before is not told; a time that cannot be read is refused with an example."""
    event = await delivered(world)
    code, document, err = await whereis(world, event["id"], "--since", "1h")
    assert (code, len(document["facts"])) == (0, 1), err
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    code, document, _ = await whereis(world, event["id"], "--since", later)
    assert (code, document["facts"]) == (1, [])
    code, _, err = await whereis(world, event["id"], "--since", "yesterday")
    assert code == 2
    assert "2h" in err


async def test_what_nobody_knows_is_told(world: World) -> None:
    """Exit code 1, what was searched, and never what was asked for."""
    await delivered(world)
    code, document, err = await whereis(world, "somebody@example.org")
    assert (code, document["facts"], document["now"]) == (1, [], [])
    assert "Nothing in the journal" in err
    assert "somebody" not in err
    code, _, err = await whereis(world, " <> ")
    assert code == 2


async def test_without_a_journal_it_says_what_can_still_be_known(world: World) -> None:
    """What the dead queues hold, and where to look."""
    for stream in (journal_stream(world.prefix), dead_stream(world.prefix)):
        await world.channel.queue_delete(stream)
    await world.channel.default_exchange.publish(Message(b"{}"), dead_queue("config", world.prefix))
    code, _, err = await whereis(world, "event-1")
    assert code == 1
    assert f"There is no stream {journal_stream(world.prefix)}" in err
    assert "event_id" in err
    assert f"{dead_queue('config', world.prefix)} holds 1; to look there: notify-worker dead list" in err


async def test_a_broker_that_is_away_or_refuses_is_told(world: World) -> None:
    """Exit code 3, and 2 where the password is wrong."""
    away = {**world.settings, "NOTIFY_BROKER_URL": f"amqp://127.0.0.1:{free_ports(1)[0]}/"}
    code, _, err = await command(["whereis", "event-1"], away)
    assert (code, "NOTIFY_BROKER_URL" in err) == (3, True)
    wrong = {**world.settings, "NOTIFY_BROKER_URL": world.url.replace("guest:guest", "guest:wrong")}
    code, _, err = await command(["whereis", "event-1"], wrong)
    assert (code, "NOTIFY_BROKER_URL" in err) == (2, True)


SPEEDS = [
    pytest.param(100, 100_000, 100_000, 1.0, id="under load"),
    pytest.param(1, 10_000, 100_000, 30.0, id="one by one"),
]


@pytest.mark.parametrize(("group", "short", "long", "limit"), SPEEDS)
async def test_a_long_journal_is_searched_in_time(
    world: World, group: int, short: int, long: int, limit: float
) -> None:
    """100,000 outcomes that were written under load in a second, one by one in thirty."""
    count = cases(short, long)
    await write_outcomes(world.url, world.prefix, count, in_groups_of=group)
    sought, shares = outcome(count * 3 // 4), list[float]()
    begun = time.perf_counter()
    found = await find(world.url, world.prefix, Sought.of(sought.event), progress=shares.append)
    searching = time.perf_counter() - begun
    tell(f"whereis: {count} outcomes in messages of {group}: found in {searching:.2f} s")
    assert [fact.mail for fact in found.facts] == [sought.mail]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert searching < SLACK * limit * count / long
