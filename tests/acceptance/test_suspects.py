"""An event that ends its worker again and again ends as a dead letter, and takes nobody with it."""

from functools import partial
from typing import Any

from contracts.topology import WORK_DELIVERY_LIMIT
from tests.acceptance.conftest import World
from tests.support.amqp import until
from tests.support.examples import fresh_example
from tests.support.scale import SOAK

INNOCENTS = 12
POISON = "poison@example.org"


def one_mail(to: str) -> dict[str, Any]:
    """An event for one recipient."""
    event = fresh_example("workflow-submit")
    event["data"]["recipients"] = [{**event["data"]["recipients"][0], "email": to}]
    return event


async def test_an_event_that_ends_its_workers_takes_no_innocent_one_with_it(world: World) -> None:
    """The broker counts whatever is in work when a worker dies: so suspects run alone, in random order."""
    innocent = [f"person{n}@example.org" for n in range(INNOCENTS)]
    # It comes first each time; its worker hangs with it until it is killed, as for want of memory.
    for to in (POISON, *innocent):
        await world.publish(one_mail(to))
    world.smtp.stay_silent("RCPT", to=POISON)
    world.smtp.delay("BODY", 0.3)
    deaths = 0
    while (SOAK and await world.unfinished()) or world.recipients() != sorted(innocent):
        worker = await world.worker(NOTIFY_SMTP_TIMEOUT_SECONDS="100")
        await until(partial(_has_met, world, deaths + 1), 60)
        worker.kill()
        deaths += 1
        assert deaths <= WORK_DELIVERY_LIMIT, "an innocent event could have reached the delivery limit"
    assert await world.dead_letters() == ({"dead.poison": 1} if SOAK else {})


def _has_met(world: World, times: int) -> bool:
    return sum(POISON in command for command in world.smtp.commands) >= times
