"""RabbitMQ's definitions file, from the topology: `python -m contracts.definitions` writes it.

For shops where not the worker but an administrator declares exchanges, queues and permissions. It holds no user
and no password: users are made first, since importing a user would replace the password of one that is there.
"""

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from contracts.topology import (
    DEFAULT_PREFIX,
    Topology,
    dead_exchange,
    desk_lock,
    events_exchange,
    journal_topology,
    topology,
)

FILE: Final = Path(__file__).parents[1] / "deploy" / "rabbitmq" / "definitions.json"
DEFAULT_VIRTUAL_HOST: Final = "/"
NOTHING: Final = "^$"


class Role(StrEnum):
    """The users whose permissions the file holds."""

    PUBLISHER = "publisher"
    WORKER = "worker"
    OPERATOR = "operator"


def user_name(role: Role, prefix: str = DEFAULT_PREFIX) -> str:
    """The name of the user in `role`."""
    return f"{prefix}-{role}"


def whole_topology(prefix: str = DEFAULT_PREFIX) -> Topology:
    """Everything that is declared under `prefix`."""
    parts = (topology(prefix), journal_topology(prefix))
    return Topology(
        prefix,
        tuple(exchange for part in parts for exchange in part.exchanges),
        tuple(queue for part in parts for queue in part.queues),
        tuple(binding for part in parts for binding in part.bindings),
    )


def permissions(prefix: str = DEFAULT_PREFIX) -> dict[Role, dict[str, str]]:
    """What each role may configure, write and read, as RabbitMQ's regular expressions of names.

    A publisher publishes events, and sees nothing. The worker declares everything and reads all but dead
    letters; its retry queues return messages through the default exchange. An operator reads dead letters and
    the journal, and sends dead letters again, also through the default exchange; it declares nothing but the
    queue by which two commands keep out of each other's way.
    """
    ours = re.escape(f"{prefix}.")
    return {
        Role.PUBLISHER: _permission(NOTHING, f"^{re.escape(events_exchange(prefix))}$", NOTHING),
        Role.WORKER: _permission(f"^{ours}", rf"^({ours}|amq\.default$)", rf"^{ours}(?!dead\.|journal\.dead$)"),
        Role.OPERATOR: _permission(
            f"^{re.escape(desk_lock(prefix))}$",
            rf"^({re.escape(dead_exchange(prefix))}|amq\.default)$",
            rf"^{ours}(dead\.|journal)",
        ),
    }


def document(prefix: str = DEFAULT_PREFIX, virtual_host: str = DEFAULT_VIRTUAL_HOST) -> dict[str, Any]:
    """The definitions, as `rabbitmqctl import_definitions` and the management API take them."""
    wanted = whole_topology(prefix)
    here = {"vhost": virtual_host}
    durable = {"durable": True, "auto_delete": False}
    return {
        "vhosts": [{"name": virtual_host}],
        "permissions": [
            {"user": user_name(role, prefix), **here, **allowed}
            for role, allowed in permissions(prefix).items()
        ],
        "exchanges": [
            {
                "name": it.name,
                **here,
                "type": it.type,
                **durable,
                "internal": False,
                "arguments": {**it.arguments},
            }
            for it in wanted.exchanges
        ],
        "queues": [{"name": it.name, **here, **durable, "arguments": {**it.arguments}} for it in wanted.queues],
        "bindings": [
            {
                "source": it.exchange,
                **here,
                "destination": it.queue,
                "destination_type": "queue",
                "routing_key": it.key,
                "arguments": {},
            }
            for it in wanted.bindings
        ],
    }


def text(prefix: str = DEFAULT_PREFIX, virtual_host: str = DEFAULT_VIRTUAL_HOST) -> str:
    """The file's content."""
    return json.dumps(document(prefix, virtual_host), indent=2) + "\n"


def _permission(configure: str, write: str, read: str) -> dict[str, str]:
    return {"configure": configure, "write": write, "read": read}


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8", newline="\n")
