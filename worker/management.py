"""RabbitMQ's management API: what AMQP does not show. Only read from."""

from typing import Any, Final, Self
from urllib.parse import quote

import httpx
from yarl import URL

from contracts.topology import Binding
from worker.broker import BrokerRefusedError, BrokerUnavailableError

ANSWER_SECONDS: Final = 10.0


class Management:
    """The API at `url` for one virtual host."""

    def __init__(self, url: str, user: str, password: str, virtual_host: str) -> None:
        self._url = url.rstrip("/")
        self._login = httpx.BasicAuth(user, password)
        self._virtual_host = virtual_host

    @classmethod
    def beside(cls, broker_url: str, url: str) -> Self:
        """With the virtual host of `broker_url`, and its user and password where `url` holds none."""
        broker, api = URL(broker_url), URL(url)
        login = api if api.user else broker
        return cls(
            str(api.with_user(None)),
            login.user or "guest",
            login.password or ("guest" if login.user is None else ""),
            virtual_host(broker_url),
        )

    async def bindings(self) -> frozenset[Binding]:
        """Every binding of an exchange to a queue, but those of the default exchange.

        Raises BrokerUnavailableError where the API cannot be reached, and BrokerRefusedError where it says no.
        """
        listed = await self._get(f"/api/bindings/{quote(self._virtual_host, safe='')}")
        return frozenset(
            Binding(it["source"], it["routing_key"], it["destination"])
            for it in listed
            if it["source"] and it["destination_type"] == "queue"
        )

    async def _get(self, path: str) -> Any:
        try:
            async with httpx.AsyncClient(auth=self._login, timeout=ANSWER_SECONDS) as client:
                answer = await client.get(self._url + path)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise BrokerUnavailableError(
                f"The management API cannot be reached ({type(error).__name__}): correct --management."
            ) from error
        if not answer.is_success:
            raise BrokerRefusedError(
                f"The management API answered {answer.status_code}: its user needs the tag management, and the "
                "virtual host of NOTIFY_BROKER_URL has to exist."
            )
        try:
            return answer.json()
        except ValueError:
            raise BrokerRefusedError(
                "What answers is no management API of RabbitMQ: correct --management."
            ) from None


def virtual_host(broker_url: str) -> str:
    """The virtual host that an amqp:// URL names."""
    return URL(broker_url).path.removeprefix("/") or "/"
