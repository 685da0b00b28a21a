"""From the CMS's webhooks to events: takes a webhook's payload by HTTP, and publishes the event it tells of.

The default payload does not say who is to be told, so the recipients are in a file: a list as in the contract.
The answer is 204 once a queue has the event; the CMS tries again after any other, with the same id, so nobody
gets a mail twice.
"""

import asyncio
import hmac
import json
import os
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiormq.exceptions import AMQPError

from deploy.publishers.python.publish import publish_alone

Json = dict[str, Any]

MOST_BYTES = 1024 * 1024
RESOURCES = {"entry": "entries", "form": "forms", "user": "users"}


def event_of(payload: Mapping[str, Any], recipients: Sequence[Json]) -> Json:
    """The event that a webhook's payload tells of: a workflow event where it has `workflow`, else a message.

    Raises KeyError and TypeError where the payload is not the default one, or made from it.
    """
    resource = payload["resource"]
    envelope = {
        "specversion": "1.0",
        "id": payload["eventId"],
        "source": _source(resource),
        "subject": f"{RESOURCES.get(resource['type'], resource['type'])}/{resource['id']}",
        "time": payload["datetime"],
        "datacontenttype": "application/json",
    }
    data: Json = {"recipients": [*recipients]}
    if payload["invokedBy"]["username"]:
        data["invokedBy"] = payload["invokedBy"]
    if resource["type"] in RESOURCES:
        data["resource"] = resource
    if "workflow" in payload:
        type_ = "com.contensis.entry.workflowEventRaised.v1"
        return {**envelope, "type": type_, "data": {**data, "workflow": payload["workflow"]}}
    return {
        **envelope,
        "type": "com.contensis.system.message.v1",
        "data": {**data, "message": _message(payload)},
    }


def _message(payload: Mapping[str, Any]) -> Json:
    resource, person = payload["resource"], payload["invokedBy"]
    name = " ".join(filter(None, (person.get("firstName"), person.get("lastName")))) or person["username"]
    happened = re.sub("[A-Z]", lambda found: f" {found[0].lower()}", payload["eventName"])
    return {
        "code": f"{resource['type']}.{payload['eventName']}",
        "title": f"{resource['title']}: {happened}",
        "body": f"{name or 'Contensis'}: {resource['type']} {happened}.",
        "action": {"label": {"en-GB": "Open in Contensis", "cy": "Agor yn Contensis"}, "url": resource["url"]},
    }


def _source(resource: Mapping[str, Any]) -> str:
    cms = urlsplit(resource["url"])
    return f"{cms.scheme}://{cms.netloc}/projects/{resource['projectId']}"


class Bridge(ThreadingHTTPServer):
    """Listens for webhooks; put it behind what speaks HTTPS for the CMS."""

    def __init__(self, address: str, broker: str, secret: str, recipients: Sequence[Json]) -> None:
        host, _, port = address.rpartition(":")
        super().__init__((host, int(port)), Webhook)
        self._broker, self._secret, self._recipients = broker, secret, recipients

    def take(self, secret: str, body: bytes) -> HTTPStatus:
        """What to answer, after the event is published."""
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return HTTPStatus.UNAUTHORIZED
        try:
            event = event_of(json.loads(body), self._recipients)
        except (ValueError, KeyError, TypeError, AttributeError):
            return HTTPStatus.BAD_REQUEST
        try:
            asyncio.run(publish_alone(event, self._broker))
        except (AMQPError, OSError, TimeoutError):
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.NO_CONTENT


class Webhook(BaseHTTPRequestHandler):
    """One call of the CMS; the secret is a secret header of the webhook subscription."""

    server: Bridge

    def do_POST(self) -> None:
        """Read it, and answer."""
        length = int(self.headers.get("Content-Length", MOST_BYTES + 1))
        if length > MOST_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        status = self.server.take(self.headers.get("X-Bridge-Secret", ""), self.rfile.read(length))
        self.send_response(status)
        self.end_headers()


def main() -> None:
    """Until it is told to stop."""
    recipients = json.loads(Path(os.environ["BRIDGE_RECIPIENTS"]).read_text("utf-8"))
    broker = os.environ.get("RABBITMQ_URL", "amqp://localhost")
    address = os.environ.get("BRIDGE_ADDRESS", "127.0.0.1:8900")
    with Bridge(address, broker, os.environ["BRIDGE_SECRET"], recipients) as bridge:
        bridge.serve_forever()


if __name__ == "__main__":
    main()
