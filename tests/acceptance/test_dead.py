"""`notify-worker dead`, as an operator looks at what could not be delivered."""

import json
import os
import re
import time
from typing import Any

import aio_pika
import pytest

from contracts.dead_letter import ABOUT, Reason
from contracts.journal import Record, What
from contracts.topology import Lane, dead_queue, dead_stream, journal_stream, journal_topology
from deploy.local.rabbitmq import free_ports
from tests.acceptance.conftest import World
from tests.support import figures
from tests.support.amqp import depth, take_all
from tests.support.dead_letters import bury, dead_message
from tests.support.examples import fresh_example
from tests.support.scale import SLACK
from tests.support.worker import command
from worker.declare import declare
from worker.desk import ndjson
from worker.desk.removal import How, Removal

SIX = (
    Reason.OAUTH2_REQUIRES_TLS,
    Reason.SMTP_AUTHENTICATION_REFUSED,
    Reason.INVALID_DATA,
    Reason.RECIPIENT_REFUSED,
    Reason.SMTP_UNREACHABLE,
    Reason.EXPIRED,
)
CONFIG = Reason.OAUTH2_REQUIRES_TLS


@pytest.fixture
async def streams(world: World) -> None:
    """The broker has both streams, as after a worker's first start."""
    async with await aio_pika.connect(world.url) as connection:
        await declare(connection, journal_topology(world.prefix))


async def dead(world: World, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `notify-worker dead …`."""
    return await command(["dead", *arguments], world.settings)


async def timed(world: World) -> tuple[float, float, Any]:
    """Seconds until the groups are there, seconds of processor that took, and the groups."""
    begun, before = time.monotonic(), os.times()
    groups = await as_json(world)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - begun, used, groups


async def as_json(world: World, *arguments: str) -> Any:
    """The one document that a command prints with --json."""
    _, out, _ = await dead(world, *arguments, "--json")
    return json.loads(out)


async def put(world: World, reason: Reason, count: int = 1, **options: Any) -> None:
    """So many dead letters of one reason."""
    messages = [dead_message(reason, number, prefix=world.prefix, **options) for number in range(count)]
    await bury(world.channel, world.prefix, [reason] * count, messages)


async def counts_of(world: World, name: str) -> set[int]:
    """What the messages of a dead queue, which is emptied, say of how often they were handed out."""
    taken = await take_all(world.channel, dead_queue(name, world.prefix))
    return {int(str(message.headers.get("x-delivery-count", 0))) for message in taken}


async def test_five_thousand_letters_are_six_groups_in_under_two_seconds(world: World, streams: None) -> None:
    """The largest first; looking hands out none of them."""
    reasons = [SIX[min(number % 10, 5)] for number in range(5000)]
    messages = [dead_message(reason, n, prefix=world.prefix) for n, reason in enumerate(reasons)]
    await bury(world.channel, world.prefix, reasons, messages)
    await write_journal(world, "ab12cd34ef56")
    took, used, groups = min([await timed(world) for _ in range(3)], key=lambda run: run[0])
    figures.tell(
        f"dead: 5,000 dead letters in 6 causes as groups in {took:.2f} s ({used:.2f} s of CPU), "
        "start of Python included, best of 3"
    )
    assert [(group["code"], group["count"]) for group in groups] == [
        (str(Reason.EXPIRED), 2500),
        *((str(reason), 500) for reason in sorted(SIX[:5])),
    ]
    assert await counts_of(world, "config") == {0}
    # On a busy machine the processor's seconds are what can be compared.
    assert min(took, used) < SLACK * 2.0


async def test_groups_say_what_it_is_and_what_to_type(world: World, streams: None) -> None:
    """Sentence, settings and lanes; and whether the settings have changed, which the journal tells."""
    await put(world, CONFIG, 3)
    await put(world, CONFIG, 1, lane=Lane.URGENT)
    (group,) = await as_json(world)
    assert group["lanes"] == {"standard": 3, "urgent": 1}
    assert group["text"] == ABOUT[CONFIG].text
    assert group["settings"] == ["EmailSmtpUseSSL", "EmailSmtpUseImplicitSSL"]
    assert group["settings_changed"] is None
    await write_journal(world, "ab12cd34ef56")
    (group,) = await as_json(world)
    assert (group["settings_changed"], group["next"]) == (False, f"notify-worker dead explain {group['group']}")
    await write_journal(world, "000000000000")
    await write_journal(world, "")
    (group,) = await as_json(world)
    assert group["settings_changed"] is True
    assert group["next"] == f"notify-worker dead retry {group['group']} --canary 1"
    code, out, _ = await dead(world)
    assert code == 0
    assert re.search(r"4 +config +oauth2-requires-tls", out)
    assert ABOUT[CONFIG].text in out


async def write_journal(world: World, settings_rev: str) -> None:
    """A group as a worker writes it, or, without a revision, as the desk does."""
    headers: dict[str, Any] = {"notify-settings-rev": settings_rev} if settings_rev else {}
    record = Record(at="2026-11-24T10:00:00.000Z", what=What.STARTED)
    await to_stream(world, journal_stream(world.prefix), aio_pika.Message(record.line(), headers=headers))


async def to_stream(world: World, stream: str, message: aio_pika.Message) -> None:
    """Writes to a stream, confirmed."""
    await world.channel.default_exchange.publish(message, stream)


async def test_what_was_taken_out_with_a_note_is_not_shown_and_costs_no_look(
    world: World, streams: None
) -> None:
    """The note stands in the stream; the rest is not handed out."""
    await put(world, CONFIG, 3)
    first = (await as_json(world, "list"))[-1]["id"]
    await world.dead("config")
    removal = Removal((first,), How.RETRIED).message()
    await to_stream(world, dead_stream(world.prefix), removal)
    code, out, err = await dead(world, "list", "--json")
    assert (code, err) == (0, "")
    assert [letter["event_id"] for letter in json.loads(out)] == ["event-2", "event-1"]
    assert await counts_of(world, "config") == {0}


async def test_what_another_tool_took_out_is_found_by_peeking(world: World, streams: None) -> None:
    """The counts differ, so the queue is looked into; that is said, and the order stays."""
    await put(world, CONFIG, 3)
    await put(world, Reason.EXPIRED, 2)
    await world.dead("config")
    code, out, err = await dead(world, "list", "--json", "--code", CONFIG)
    assert code == 0
    assert [letter["event_id"] for letter in json.loads(out)] == ["event-2", "event-1"]
    assert f"{world.prefix}.dead.config was peeked in" in err
    assert ".dead.exhausted" not in err
    taken = await take_all(world.channel, dead_queue("config", world.prefix))
    assert [message.message_id for message in taken] == ["event-1", "event-2"]
    assert await counts_of(world, "exhausted") == {0}


async def test_a_purged_queue_needs_no_look(world: World, streams: None) -> None:
    """What is empty is empty, whatever the stream holds."""
    await put(world, CONFIG, 2)
    queue = await world.channel.get_queue(dead_queue("config", world.prefix), ensure=False)
    await queue.purge()
    code, out, err = await dead(world)
    assert (code, out) == (0, "")
    assert err == "There are no dead letters.\n"


async def test_letters_from_before_the_stream_are_shown(world: World) -> None:
    """They have no copy; what has died since has one."""
    await put(world, CONFIG, 2)
    async with await aio_pika.connect(world.url) as connection:
        await declare(connection, journal_topology(world.prefix))
    await put(world, CONFIG, 1, lane=Lane.URGENT)
    (group,) = await as_json(world)
    assert group["count"] == 3


async def test_without_streams_the_queues_are_peeked_in_and_keep_their_order(world: World) -> None:
    """It says what that costs."""
    await put(world, CONFIG, 300)
    code, out, err = await dead(world, "list", "--limit", "1000", "--json")
    assert (code, len(json.loads(out))) == (0, 300)
    assert "there is no stream of copies" in err
    assert "out of sight for a moment" in err
    taken = await take_all(world.channel, dead_queue("config", world.prefix))
    assert [message.message_id for message in taken] == [f"event-{number}" for number in range(300)]


async def test_what_no_queue_takes_and_what_the_broker_gave_up_are_groups_too(
    world: World, streams: None
) -> None:
    """They have no header of ours; their ids are the same at every look."""
    await world.publish(fresh_example("system-schedule-missed"), "sytsem.warning.x")
    queue = await world.channel.get_queue(f"{world.prefix}.work.standard", ensure=False)
    await world.publish(fresh_example("workflow-submit"))
    for _ in range(30):
        if (message := await queue.get(fail=False)) is not None:
            await message.reject(requeue=True)
    while await depth(world.channel, dead_queue("poison", world.prefix)) == 0:
        pass
    listed = await as_json(world, "list")
    assert {(letter["class"], letter["code"]) for letter in listed} == {
        ("unroutable", "unroutable"),
        ("poison", "delivery-limit"),
    }
    assert {letter["lane"] for letter in listed} == {"", "standard"}
    again = await as_json(world, "list")
    assert {letter["id"] for letter in again} == {letter["id"] for letter in listed}


async def test_a_letter_is_shown_without_personal_data(world: World, streams: None) -> None:
    """Keys and shape are kept; --reveal shows the rest, --raw the bytes."""
    body = json.dumps(fresh_example("password-reset-requested")).encode()
    await put(world, CONFIG, body=body)
    (listed,) = await as_json(world, "list")
    code, out, _ = await dead(world, "show", listed["id"].lower()[:20])
    assert code == 0
    assert '"url": "<' in out
    assert "@" not in out
    reset = json.loads(body)["data"]["reset"]["url"]
    assert reset not in out
    document = await as_json(world, "show", listed["id"])
    assert document["event_id"] == "event-0"
    assert document["body"]["data"]["user"]["email"].startswith("<")
    code, out, err = await dead(world, "show", listed["id"], "--raw")
    assert (code, out) == (2, "")
    assert "--reveal" in err
    code, out, _ = await dead(world, "show", listed["id"], "--raw", "--reveal")
    assert (code, out.encode()) == (0, body)


async def test_explain_tells_the_cause_and_tries_the_way_now(world: World, streams: None) -> None:
    """For a group, a letter and a code of which there is none."""
    await put(world, Reason.SMTP_UNREACHABLE, 2, detail="connect: refused")
    code, out, err = await dead(world, "explain", "smtp-unreachable")
    assert code == 0
    assert ABOUT[Reason.SMTP_UNREACHABLE].hint.split(";")[0] in out
    assert "2 x connect: refused" in out
    assert re.search(r"^auth +OK", out, re.MULTILINE)
    assert "The check finds nothing wrong now." in err
    assert "--canary 1" in err
    code, out, _ = await dead(world, "explain", "smtp-quota", "--no-check")
    assert code == 0
    assert "No dead letter has this code now." in out
    document = await as_json(world, "explain", "smtp-unreachable")
    assert document["details"] == [{"detail": "connect: refused", "count": 2}]
    assert all(step["ok"] in (True, None) for step in document["check"])


async def test_an_export_is_whole_and_asks_first(world: World, streams: None) -> None:
    """It can be imported, so it holds the bodies, and needs --reveal."""
    await put(world, CONFIG, 2)
    await put(world, Reason.EXPIRED)
    code, out, err = await dead(world, "export")
    assert (code, out) == (2, "")
    assert "--reveal" in err
    code, out, _ = await dead(world, "export", "--reveal", "--class", "config")
    assert code == 0
    letters = [ndjson.read(line) for line in out.splitlines()]
    assert [letter.event_id for letter in letters] == ["event-0", "event-1"]
    assert all(letter.body for letter in letters)
    assert await depth(world.channel, dead_queue("config", world.prefix)) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], 0),
        (["list"], 1),
        (["list", "--code", "smtp-quota"], 1),
        (["show", "01KB"], 1),
        (["explain", "nothing"], 1),
        (["list", "--since", "yesterday"], 2),
        (["--json", "list"], 2),
    ],
    ids=str,
)
async def test_exit_codes(world: World, streams: None, arguments: list[str], expected: int) -> None:
    """0 done, 1 nothing matched, 2 usage."""
    code, _, err = await dead(world, *arguments)
    assert code == expected, err


async def test_a_broker_that_is_away_is_told(world: World) -> None:
    """Exit code 3 and the setting to look at."""
    away = {**world.settings, "NOTIFY_BROKER_URL": f"amqp://127.0.0.1:{free_ports(1)[0]}/"}
    code, _, err = await command(["dead"], away)
    assert code == 3
    assert "NOTIFY_BROKER_URL" in err
