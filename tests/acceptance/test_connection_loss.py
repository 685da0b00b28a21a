"""A broker connection that breaks, again and again: a living worker sends nothing twice and loses nothing."""

from functools import partial
from random import Random

from yarl import URL

from tests.acceptance.conftest import World
from tests.support.amqp import until
from tests.support.examples import SYSTEM, fresh_example
from tests.support.tcp_proxy import TcpProxy

EVENTS = 250
CUTS = 6


async def test_cuts_under_load_neither_lose_nor_repeat_a_mail(world: World) -> None:
    """Whatever was in work when the connection broke is delivered again by the broker, and known."""
    chance = Random(20261124)  # noqa: S311 - a seeded fault script, no secret
    broker = URL(world.url)
    assert broker.host
    async with TcpProxy(broker.host, broker.port or 0) as proxy:
        for _ in range(EVENTS):
            await world.publish(fresh_example(SYSTEM))
        world.smtp.delay("BODY", 0.03)
        worker = await world.worker(NOTIFY_BROKER_URL=str(broker.with_port(proxy.port)))
        for _ in range(CUTS):
            seen, connections = len(world.smtp.accepted), proxy.connections
            await world.smtp.until_accepted(seen + chance.randint(5, 40), within=30)
            proxy.cut()
            await until(partial(_more_than, proxy, connections))
        await world.smtp.until_accepted(2 * EVENTS, within=60)
        await world.until_unfinished({})
        adopted = worker.said(action="adopt")
        assert len({mail["Message-ID"] for mail in world.mails()}) == 2 * EVENTS
        assert len(world.smtp.accepted) == 2 * EVENTS
        assert adopted, "no cut fell into a mail's way: the test has shown nothing"
        assert await world.dead_letters() == {}


def _more_than(proxy: TcpProxy, connections: int) -> bool:
    return proxy.connections > connections
