"""RabbitMQ's management API: what AMQP does not show. Only read from."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
from yarl import URL

from contracts.topology import Binding
from worker.broker import BrokerRefusedError, BrokerUnavailableError, virtual_host

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

    async def policies(self) -> list[dict[str, Any]]:
        """Every policy; those of operators have a true `operator`. Raises as `bindings` does.

        A listing of the queues would tell which are in effect, but only once their statistics have come.
        """
        host = quote(self._virtual_host, safe="")
        users = await self._get(f"/api/policies/{host}")
        operators = await self._get(f"/api/operator-policies/{host}")
        return [*users, *({**it, "operator": True} for it in operators)]

    async def disabled_flags(self) -> list[str]:
        """Names of the stable feature flags that are not enabled. Raises as `bindings` does."""
        flags = await self._get("/api/feature-flags")
        return [str(it["name"]) for it in flags if it["state"] != "enabled" and it.get("stability") == "stable"]

    async def clock(self) -> datetime | None:
        """What time it is at the broker, whole seconds; None where it does not say. Raises as `bindings`."""
        try:
            return parsedate_to_datetime((await self._answer("/api/overview")).headers["Date"])
        except (KeyError, ValueError):
            return None

    async def _get(self, path: str) -> Any:
        answer = await self._answer(path)
        try:
            return answer.json()
        except ValueError:
            raise BrokerRefusedError(
                "What answers is no management API of RabbitMQ: correct --management."
            ) from None

    async def _answer(self, path: str) -> httpx.Response:
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
        return answer
