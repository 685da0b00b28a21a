"""Workers that are killed again and again under load: nothing is lost, and little is sent twice."""

import time
from random import Random
from typing import Final

from tests.acceptance.conftest import World
from tests.support.figures import tell
from tests.support.load import addresses, distances, message_to, publish_all, tally, until_sent, window
from tests.support.scale import cases

REPLY_SECONDS: Final = 0.1
SESSIONS: Final = 8

MOST_REPEATS_A_KILL: Final = SESSIONS
SECONDS_BEFORE_A_KILL: Final = 1.0
SECONDS_AFTER_A_KILL: Final = 0.1
"""What a kill may repeat: what stood between the server's acceptance and the worker's record of it.

The server may come to accept what it has from a worker that is dead by then.
"""


async def test_kills_of_one_of_two_workers_lose_nothing(world: World) -> None:
    """Each kill is followed by a new worker; what was sent twice had been accepted just before a kill."""
    chance = Random(20261124)  # noqa: S311 - a seeded fault script, no secret
    due, kills = addresses(cases(1_000, 10_000)), cases(3, 20)
    world.smtp.delay("BODY", REPLY_SECONDS)
    await publish_all(world.channel, world.prefix, map(message_to, due))
    workers = [await world.worker(NOTIFY_SMTP_MAX_SESSIONS=str(SESSIONS)) for _ in range(2)]
    moments = []
    for _ in range(kills):
        await world.smtp.until_accepted(len(world.smtp.accepted) + chance.randint(1, len(due) // kills // 3))
        victim = workers.pop(chance.randrange(2))
        moments.append(time.monotonic())
        victim.kill()
        workers.append(await world.worker(NOTIFY_SMTP_MAX_SESSIONS=str(SESSIONS)))
    assert len(world.smtp.accepted) < len(due), "all was sent before the last kill: it has shown nothing"
    await until_sent(world.smtp, due, 120)
    await world.until_unfinished({})
    codes = [await worker.stop() for worker in workers]
    sent = tally(due, world.smtp.accepted)
    seconds = distances(sent.repeats, moments)
    tell(
        f"kills: {kills} of one of two workers: {sent}; these were first accepted {window(seconds)} from a kill"
    )
    assert codes == [0, 0]
    assert sent.is_complete
    assert len(sent.repeats) <= MOST_REPEATS_A_KILL * kills
    assert all(-SECONDS_BEFORE_A_KILL <= distance <= SECONDS_AFTER_A_KILL for distance in seconds)
    assert await world.unfinished() == {}
    assert await world.dead_letters() == {}
