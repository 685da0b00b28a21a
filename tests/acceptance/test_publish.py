"""`notify-worker publish`, as somebody who tries it out uses it."""

import json
import re

from contracts.topology import Lane
from deploy.local.rabbitmq import free_ports
from tests.acceptance.conftest import World
from tests.support.amqp import delivery
from tests.support.examples import EXAMPLES, SYSTEM, fresh_example
from tests.support.worker import command

FILE = str(EXAMPLES / f"{SYSTEM}.json")


async def test_an_event_is_published_as_a_publisher_should(world: World) -> None:
    """Persistent, with its content type, its id and its own routing key; the bytes as they are in the file."""
    code, out, err = await command(["publish", FILE], world.settings)
    assert (code, out) == (0, "")
    assert "system.warning.schedule.missed" in err
    got = await delivery(world.channel, world.prefix, Lane.STANDARD)
    assert got.body == (EXAMPLES / f"{SYSTEM}.json").read_bytes()
    assert got.message.content_type == "application/cloudevents+json"
    assert got.message.delivery_mode == 2


async def test_a_fresh_event_is_another_each_time(world: World) -> None:
    """Published twice it is mailed twice."""
    for _ in range(2):
        code, _, _ = await command(["publish", "--fresh", FILE], world.settings)
        assert code == 0
    first = await delivery(world.channel, world.prefix)
    second = await delivery(world.channel, world.prefix)
    assert json.loads(first.body)["id"] != json.loads(second.body)["id"]


async def test_an_invalid_event_is_refused_unless_it_is_meant(world: World) -> None:
    """Exit code 2 and the path of the fault; with --raw and a key it goes."""
    event = {**fresh_example(SYSTEM), "specversion": "0.3"}
    body = json.dumps(event).encode()
    code, _, err = await command(["publish", "-"], world.settings, stdin=body)
    assert code == 2
    assert "specversion" in err
    assert "--raw" in err
    code, _, _ = await command(["publish", "-", "--raw", "--key", "system.x"], world.settings, stdin=body)
    assert code == 0
    assert (await delivery(world.channel, world.prefix)).body == body


async def test_a_broker_that_is_away_is_told(world: World) -> None:
    """Exit code 3, and the setting to look at."""
    settings = {**world.settings, "NOTIFY_BROKER_URL": f"amqp://127.0.0.1:{free_ports(1)[0]}/"}
    code, _, err = await command(["publish", FILE], settings)
    assert code == 3
    assert "NOTIFY_BROKER_URL" in err
    assert not re.search("Traceback", err)


async def test_an_exchange_that_nobody_declared_is_told(world: World) -> None:
    """Exit code 3, and what declares it."""
    code, _, err = await command(["publish", FILE], {**world.settings, "NOTIFY_PREFIX": "nobody"})
    assert code == 3
    assert "nobody.events" in err
    assert "starting" in err
