"""What tests of every cost share: one private RabbitMQ a run, and names of its own for each test."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aio_pika
import pytest
from hypothesis import settings

from contracts.topology import journal_topology, topology
from deploy.local.rabbitmq import PrivateRabbitMQ
from tests.support import figures
from tests.support.node import LEFT_OUT
from tests.support.real_servers import RealServers, missing

# A busy machine makes no test fail: examples are bounded in number, not in time.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands over what was measured, if this is one of several processes of a run (pytest-xdist)."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = figures.told()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes it over in the process that prints."""
    for sentence in getattr(node, "workeroutput", {}).get("figures", ()):
        figures.tell(sentence)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests have measured, also when all has passed."""
    if figures.told():
        terminalreporter.section("figures")
    for sentence in figures.told():
        terminalreporter.write_line(sentence)


@pytest.fixture(scope="session")
def broker_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A running node for the whole run; a test that stops or kills one starts its own."""
    with PrivateRabbitMQ(tmp_path_factory.mktemp("broker")) as node:
        yield node


@pytest.fixture
def broker_url(broker_node: PrivateRabbitMQ) -> str:
    """Where the shared node is."""
    return broker_node.url


@pytest.fixture
async def prefix(broker_url: str) -> AsyncIterator[str]:
    """A NOTIFY_PREFIX that no other test has; what was declared under it is deleted afterwards.

    That takes 0.05 s; a virtual host for each test would take 0.8 s, in which RabbitMQ's tools start twice.
    """
    name = f"test-{secrets.token_hex(4)}"
    yield name
    declared, journal = topology(name), journal_topology(name)
    async with await aio_pika.connect(broker_url) as connection, connection.channel() as channel:
        for queue in (*declared.queues, *journal.queues):
            await channel.queue_delete(queue.name)
        for exchange in declared.exchanges:
            await channel.exchange_delete(exchange.name)


@pytest.fixture(scope="session")
def running_servers() -> Iterator[RealServers]:
    """Postfix, Dovecot and an OAuth2 server for the whole run."""
    if os.environ.get(LEFT_OUT):
        pytest.skip(f"LEFT OUT because {LEFT_OUT} is set: nothing here was tried against real servers")
    if lack := missing():
        pytest.fail(lack, pytrace=False)
    with RealServers() as servers:
        yield servers


@pytest.fixture
def real(running_servers: RealServers) -> RealServers:
    """These servers, which have forgotten the tests before."""
    running_servers.forget()
    return running_servers


@pytest.fixture
def two_mailboxes(real: RealServers) -> RealServers:
    """These servers, where tokens are good for two mailboxes."""
    if not real.dovecot.knows_several_mailboxes:
        pytest.skip("LEFT OUT because Dovecot 2.4 compares one mailbox only with a token: needs Dovecot 2.3")
    return real
