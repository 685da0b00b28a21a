"""RabbitMQ's management API as `topology check` asks it; test_definitions asks that of a real broker."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.ports import closed_port
from worker.broker import BrokerRefusedError, BrokerUnavailableError
from worker.management import Management, virtual_host

BROKER = "amqp://guest:guest@127.0.0.1:5672/"


class Page(BaseHTTPRequestHandler):
    """Somebody else's web server, which has a page for everything."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<p>Welcome</p>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    """Its address."""
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


async def test_another_web_server_is_told(page: str) -> None:
    """It is not taken for a broker without bindings."""
    with pytest.raises(BrokerRefusedError, match="no management API"):
        await Management.beside(BROKER, page).bindings()


async def test_an_api_that_cannot_be_reached_is_told() -> None:
    """With the option to look at."""
    with pytest.raises(BrokerUnavailableError, match="--management"):
        await Management.beside(BROKER, f"http://127.0.0.1:{closed_port()}").bindings()


@pytest.mark.parametrize(
    ("url", "host"),
    [("amqp://a", "/"), ("amqp://a/", "/"), ("amqp://a/cms", "cms"), ("amqp://a/%2Fcms", "/cms")],
)
def test_the_virtual_host_is_that_of_the_brokers_url(url: str, host: str) -> None:
    """As the AMQP client reads it."""
    assert virtual_host(url) == host
