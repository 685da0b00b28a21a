"""The tests' own servers: started beside whatever the machine has, and gone without a trace."""

import os

from tests.support.amqp import until
from tests.support.processes import descendants, gone
from tests.support.real_servers import RealServers


async def test_nothing_is_left_behind(running_servers: RealServers) -> None:
    """A second set runs beside the first; then none of its processes is left, and no file."""
    before = descendants(os.getpid())
    with RealServers() as servers:
        folder = servers.ca_file.parent
        await until(lambda: servers.postfix.connections() > 0)
        started = descendants(os.getpid()) - before
        assert len(started) > 5
    assert gone(lambda process: process.pid in started)
    assert not folder.exists()
    assert running_servers.identity.control()["down"] is False
