"""Dead letters are sent again from the command line: what was chosen, once, and nothing else."""

import asyncio
import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import pytest

from contracts.dead_letter import ABOUT, Reason, rfc3339
from contracts.topology import Lane, dead_queue, work_queue
from tests.acceptance.conftest import World
from tests.support.amqp import take, take_all, until
from tests.support.examples import SYSTEM, fresh_example
from tests.support.figures import tell
from tests.support.letters import bury, dead, declare_journal, key_of, seen
from tests.support.load import addresses, adopted, message_to, reset_for, tally, until_sent
from tests.support.scale import cases
from tests.support.worker import ROOT, command, environment
from worker.desk.case import Redrive
from worker.desk.holding import desk, look
from worker.desk.redrive import Options
from worker.desk.rounds import send_again
from worker.desk.workplace import workplace

MENDED: Final = Reason.OAUTH2_REQUIRES_TLS


async def notify(world: World, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON document and talk of a `dead` command."""
    code, out, err = await command(["dead", *arguments, "--json"], world.settings)
    return code, json.loads(out) if out else {}, err


@pytest.fixture
async def journal(world: World) -> None:
    """The streams, as a worker has declared them."""
    await declare_journal(world.url, world.prefix)


async def test_letters_are_sent_again_each_once(world: World) -> None:
    """By the code of their group; nothing is left."""
    due = addresses(cases(50, 200))
    await world.worker()
    await bury(world.channel, world.prefix, (dead(message_to(a), MENDED, world.prefix) for a in due))
    code, said, _ = await notify(world, "retry", MENDED, "--note", "TLS is on", "--by", "ann")
    assert (code, said["sent"], said["left"]) == (0, len(due), 0)
    await until_sent(world.smtp, due, 60)
    sent = tally(due, world.smtp.accepted)
    assert sent.is_complete
    assert not sent.repeats
    assert await world.dead_letters() == {}


async def test_a_letter_goes_back_with_what_it_owes_and_a_life_of_its_own(world: World, journal: None) -> None:
    """To the queue it came from; its history is kept, its clock and attempts begin anew."""
    letter = dead(
        fresh_example(SYSTEM), MENDED, world.prefix, owed="1", redrives=2, history='[["t","c","dead"]]'
    )
    (letter_id,) = await bury(world.channel, world.prefix, [letter])
    assert (await notify(world, "retry", letter_id, "--note", "mended", "--by", "ann"))[0] == 0
    sent = await take(world.channel, work_queue(Lane.STANDARD, world.prefix))
    await sent.ack()
    assert sent.body == letter.body
    assert sent.exchange == ""
    expected = {
        "notify-dead-id": letter_id,
        "notify-owed": "1",
        "notify-redrives": 3,
        "notify-redriven-by": "ann",
        "notify-note": "mended",
        "notify-origin-key": letter.headers["notify-origin-key"],
        "x-tenant": "a publisher's own",
    }
    assert {name: sent.headers.get(name) for name in expected} == expected
    assert not {"notify-attempts", "notify-first-failed", "notify-code"} & sent.headers.keys()
    first, second = json.loads(str(sent.headers["notify-history"]))
    assert first == ["t", "c", "dead"]
    assert second[1:] == ["redriven", "standard"]


async def test_only_those_still_owed_get_the_mail(world: World) -> None:
    """The first recipient had it before."""
    await world.worker()
    event = fresh_example(SYSTEM)
    await bury(world.channel, world.prefix, [dead(event, MENDED, world.prefix, owed="1")])
    code, _, err = await notify(world, "retry", "--all")
    assert code == 0, err
    await world.smtp.until_accepted(1)
    await world.until_unfinished({})
    assert world.recipients() == [event["data"]["recipients"][1]["email"]]


async def test_a_canary_that_fails_as_before_stops_the_rest(world: World) -> None:
    """They stay as they were; the one is a dead letter again."""
    world.smtp.answer("RCPT", "550 5.7.1 Relaying denied")
    reason = Reason.SMTP_RELAY_REFUSED
    await world.worker()
    letters = [dead(message_to(address), reason, world.prefix) for address in addresses(5)]
    ids = await bury(world.channel, world.prefix, letters)
    code, said, _ = await notify(world, "retry", reason, "--canary", "1")
    assert (code, said["sent"], said["left"]) == (1, 1, 4)
    assert said["canary"] == {"sent": 1, "tells": "same", "code": reason}
    left = await take_all(world.channel, dead_queue("config", world.prefix))
    assert [letter.headers["notify-dead-id"] for letter in left[:4]] == ids[1:]
    assert left[4].headers["notify-redrives"] == 1
    assert world.smtp.accepted == []


async def test_a_canary_that_comes_through_lets_the_rest_follow(world: World) -> None:
    """All of them, once."""
    due = addresses(10)
    await world.worker()
    await bury(world.channel, world.prefix, (dead(message_to(a), MENDED, world.prefix) for a in due))
    code, said, _ = await notify(world, "retry", MENDED, "--canary", "2")
    assert (code, said["sent"], said["canary"]["tells"]) == (0, 10, "well")
    await until_sent(world.smtp, due, 30)
    assert tally(due, world.smtp.accepted).is_complete


async def test_what_has_expired_is_never_sent(world: World) -> None:
    """With the flag it stays where it is; without, it becomes a dead letter of that code."""
    await world.worker()
    event = reset_for("late@broddu.example")
    event["data"]["reset"]["expires"] = event["expirytime"] = rfc3339(datetime.now(UTC) - timedelta(seconds=60))
    letters = [
        dead(event, MENDED, world.prefix, lane=Lane.URGENT),
        dead(message_to("e@b.example"), MENDED, world.prefix),
    ]
    await bury(world.channel, world.prefix, letters)
    code, said, _ = await notify(world, "retry", MENDED, "--skip-expired", "--canary", "1")
    assert (code, said["sent"], said["expired"], said["left"]) == (0, 1, 1, 1)
    await world.smtp.until_accepted(1)
    assert await world.dead_letters() == {"dead.config": 1}
    assert (await notify(world, "retry", MENDED))[0] == 0
    assert (await world.dead("exhausted")).headers["notify-code"] == "expired"
    assert world.recipients() == ["e@b.example"]


async def test_a_retry_of_one_group_leaves_the_others_exactly_as_they_were(world: World, journal: None) -> None:
    """Of letters in six causes: their order, number, bodies and headers."""
    causes = (
        *(MENDED, Reason.SMTP_AUTHENTICATION_REFUSED, Reason.SMTP_CERTIFICATE),
        *(Reason.TEMPLATE, Reason.RECIPIENT_REFUSED, Reason.SMTP_BUSY),
    )
    chance, count = Random(5), cases(1_200, 5_000)  # noqa: S311 - a seeded script, no secret
    letters = [
        dead(message_to(f"e{n}@broddu.example"), chance.choice(causes), world.prefix) for n in range(count)
    ]
    await bury(world.channel, world.prefix, letters)
    begun = time.monotonic()
    code, said, _ = await notify(world, "retry", "--code", MENDED)
    seconds = time.monotonic() - begun
    chosen = [letter for letter in letters if letter.headers["notify-code"] == MENDED]
    assert (code, said["sent"]) == (0, len(chosen))
    tell(
        f"retry of one group: {len(chosen)} of {count} letters of 6 causes in {seconds:.1f} s, others untouched"
    )
    for queue in ("config", "poison", "exhausted"):
        left = seen(await take_all(world.channel, dead_queue(queue, world.prefix)))
        assert left == [
            (key_of(letter), letter.body, dict(letter.headers))
            for letter in letters
            if letter not in chosen and _queue(letter.headers["notify-code"]) == queue
        ]
    sent = await take_all(world.channel, work_queue(Lane.STANDARD, world.prefix))
    assert sorted(message.body for message in sent) == sorted(letter.body for letter in chosen)


def _queue(code: Any) -> str:
    dead_class = ABOUT[Reason(code)].dead_class
    return dead_class if dead_class in ("config", "poison") else "exhausted"


async def test_a_retry_that_is_killed_loses_nothing_and_sends_nothing_twice(world: World) -> None:
    """At any moment, while a worker runs; the same command is given again until nothing is left."""
    chance = Random(20261124)  # noqa: S311 - a seeded fault script, no secret
    due, kills, told = addresses(cases(300, 3_000)), cases(3, 20), list[str]()
    workers = [await world.worker() for _ in range(2)]
    await bury(world.channel, world.prefix, (dead(message_to(a), MENDED, world.prefix) for a in due))
    for _ in range(kills):
        before = len(world.smtp.accepted)
        process = await _retrying(world)
        await _until_accepted(world, before + chance.randint(0, len(due) // kills), process)
        await asyncio.sleep(chance.uniform(0, 0.05))
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        told.append(f"{len(world.smtp.accepted) - before}")
    code, said, err = await notify(world, "retry", MENDED)
    assert code in (0, 1), err
    await until_sent(world.smtp, due, 60)
    await world.until_unfinished({})
    sent = tally(due, world.smtp.accepted)
    tell(
        f"redrive killed {kills} times, after {', '.join(told)} mails: {sent}; "
        f"the last command found {said.get('sent_before', 0)} that had been sent, "
        f"workers met {sum(map(adopted, workers))} a second time"
    )
    assert sent.is_complete
    assert not sent.repeats
    assert await world.dead_letters() == {}


async def test_a_letter_that_was_sent_and_is_still_there_is_only_taken_out(world: World) -> None:
    """Killed between the confirmation and the acknowledgement, long ago: the worker has been started anew."""
    letter = dead(message_to("e@broddu.example"), MENDED, world.prefix)
    worker = await world.worker()
    await bury(world.channel, world.prefix, [letter])
    assert (await notify(world, "retry", MENDED))[1]["sent"] == 1
    await worker.until_said(outcome="delivered")
    await bury(world.channel, world.prefix, [letter])
    code, said, _ = await notify(world, "retry", MENDED)
    assert (code, said["sent"], said["sent_before"]) == (0, 0, 1)
    assert len(world.smtp.accepted) == 1
    assert await world.dead_letters() == {}


async def test_a_letter_that_waits_in_its_lane_twice_is_sent_once(world: World, journal: None) -> None:
    """Killed at the same point while no worker ran; then two take one each."""
    letter = dead(message_to("e@broddu.example"), MENDED, world.prefix)
    for _ in range(2):
        await bury(world.channel, world.prefix, [letter])
        assert (await notify(world, "retry", MENDED))[1]["sent"] == 1
    assert await world.unfinished() == {"work.standard": 2}
    world.smtp.delay("BODY", 1.0)
    await asyncio.gather(*(world.worker() for _ in range(2)))
    await world.until_unfinished({})
    await until(lambda: bool(world.smtp.accepted))
    await asyncio.gather(*(worker.stop() for worker in world.workers))
    assert len(world.smtp.accepted) == 1
    assert await world.dead_letters() == {}


async def test_a_second_command_at_the_same_time_is_refused(world: World) -> None:
    """It would see an empty queue, while the first holds the letters."""
    async with desk(world.url, world.prefix):
        code, _, err = await notify(world, "retry", MENDED)
    assert code == 2
    assert "Another command" in err
    assert (await notify(world, "retry", MENDED))[0] == 1


async def test_letters_are_held_for_a_while_only(world: World, journal: None) -> None:
    """The broker takes away what is held for half an hour; each round gives back what it has not come to."""
    letters = [dead(message_to(address), MENDED, world.prefix) for address in addresses(12)]
    await bury(world.channel, world.prefix, letters)
    options = Options(Redrive("ann", ""), rate=10.0)
    async with workplace(world.url, world.prefix) as place:
        there = await look(place.connection, world.prefix)
        tally = await send_again(place, there, options, round_seconds=0.3)
    assert tally.sent == 12
    sent = await take_all(world.channel, work_queue(Lane.STANDARD, world.prefix))
    assert [message.body for message in sent] == [letter.body for letter in letters]


async def _until_accepted(world: World, count: int, process: asyncio.subprocess.Process) -> None:
    await until(lambda: len(world.smtp.accepted) > count or process.returncode is not None)


async def _retrying(world: World) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "worker", "dead", "retry", MENDED),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(world.settings),
        cwd=ROOT,
    )
