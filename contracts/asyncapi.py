"""What the worker receives and sends, as an AsyncAPI 3.0 document: `python -m contracts.asyncapi` writes it.

Everything in it comes from the models, the topology and the examples; only the words are its own.
"""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from contracts import block_yaml
from contracts.dead_letter import DeadClass, DeadLetter, Reason
from contracts.events import EVENT, FAMILIES, Event, family_of, type_of
from contracts.schema import Schema, by_name
from contracts.topology import dead_exchange, dead_queue, events_exchange, topology

FILE: Final = Path(__file__).parent / "asyncapi.yaml"
EXAMPLES: Final = Path(__file__).parent / "examples"
VERSION: Final = "1.0.0"
"""Of the contract, not of the worker; its major is the `v1` at the end of the event types."""

STRUCTURED: Final = "application/cloudevents+json"
BINDING_VERSION: Final = "0.3.0"

ADDRESSES: Final[Mapping[str, tuple[str, ...]]] = {
    "workflow": ("projectId", "workflowId", "state", "event"),
    "form": ("projectId", "contentTypeId"),
    "password-reset": ("action",),
    "system": ("severity", "code"),
}
"""Family -> the parts of its routing key after the family's name. The last may hold dots."""

_PARAMETERS: Final[Mapping[str, str]] = {
    "projectId": "The project's id, `none` for an event without one.",
    "workflowId": "`data.workflow.id`.",
    "state": "`data.workflow.state`, the state after the event.",
    "event": "`data.workflow.transition.event`.",
    "contentTypeId": "`data.form.id`.",
    "action": "`data.reset.action`.",
    "severity": "`data.message.severity`.",
    "code": "`data.message.code`.",
    "class": "What the operator has to do.",
    "reason": "Why, as a code.",
}

_INTRODUCTION: Final = f"""\
A Contensis CMS publishes its events to the exchange {events_exchange()}; the worker turns each into mail.

Publish persistent messages with publisher confirms. The content type is {STRUCTURED},
the body a CloudEvents 1.0 event in structured mode, the message id the event's id. Trace context goes into the
header traceparent.

A confirm means that a queue has the event, not that its routing key was right: an event with a mistyped key
lands in {dead_queue("unroutable")}, since the exchange has an alternate one. What cannot become mail ends
in {dead_exchange()} with headers that say why."""

_TRACE_CONTEXT: Final[Schema] = {
    "type": "object",
    "properties": {
        "traceparent": {"type": "string", "description": "W3C Trace Context; beats the event's attribute."},
        "tracestate": {"type": "string"},
    },
}


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Contensis notifications",
            "version": VERSION,
            "description": _INTRODUCTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": STRUCTURED,
        "servers": {"rabbitmq": {"host": "localhost:5672", "protocol": "amqp", "protocolVersion": "0.9.1"}},
        "channels": {
            **{_name(family): _channel(family) for family in FAMILIES},
            "deadLetters": _dead_channel(),
        },
        "operations": {
            **{f"receive{_title(family)}": _operation("receive", _name(family)) for family in FAMILIES},
            "sendDeadLetters": _operation("send", "deadLetters"),
        },
        "components": {
            "messages": {
                **{_name(family): _message(family) for family in FAMILIES},
                "deadLetter": _dead_letter(),
            },
            "schemas": by_name([*FAMILIES.values(), DeadLetter], "#/components/schemas/{model}"),
        },
    }


def text() -> str:
    """The file's content."""
    return block_yaml.dump(document())


def _channel(family: str) -> dict[str, Any]:
    parts = ADDRESSES[family]
    return {
        "address": ".".join([family, *(f"{{{part}}}" for part in parts)]),
        "summary": inspect.getdoc(_data_of(FAMILIES[family])),
        "messages": {"event": {"$ref": f"#/components/messages/{_name(family)}"}},
        "parameters": {part: {"description": _PARAMETERS[part]} for part in parts},
        "bindings": _exchange_binding(events_exchange()),
    }


def _dead_channel() -> dict[str, Any]:
    return {
        "address": "{class}.{reason}",
        "summary": "Events that could not become mail, bodies untouched.",
        "messages": {"deadLetter": {"$ref": "#/components/messages/deadLetter"}},
        "parameters": {
            "class": {"description": _PARAMETERS["class"], "enum": [*map(str, DeadClass)]},
            "reason": {"description": _PARAMETERS["reason"], "enum": [*map(str, Reason)]},
        },
        "bindings": _exchange_binding(dead_exchange()),
    }


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": BINDING_VERSION}},
    }


def _message(family: str) -> dict[str, Any]:
    model = FAMILIES[family]
    return {
        "name": type_of(model),
        "title": inspect.cleandoc(model.__doc__ or "").partition(";")[0],
        "contentType": STRUCTURED,
        "headers": _TRACE_CONTEXT,
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": _examples(family),
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "title": "A dead letter",
        "summary": "The original message with these headers beside its own.",
        "headers": {"$ref": f"#/components/schemas/{DeadLetter.__name__}"},
        "payload": {},
    }


def _examples(family: str) -> list[dict[str, Any]]:
    events = {path.stem: json.loads(path.read_bytes()) for path in sorted(EXAMPLES.glob("*.json"))}
    return [
        {"name": name, "payload": event}
        for name, event in events.items()
        if family_of(EVENT.validate_python(event)) == family
    ]


def _exchange_binding(name: str) -> dict[str, Any]:
    exchange = next(exchange for exchange in topology().exchanges if exchange.name == name)
    declared = {"name": name, "type": exchange.type, "durable": True, "autoDelete": False, "vhost": "/"}
    return {"amqp": {"is": "routingKey", "exchange": declared, "bindingVersion": BINDING_VERSION}}


def _data_of(model: type[Event]) -> Any:
    return model.model_fields["data"].annotation


def _name(family: str) -> str:
    return _title(family)[0].lower() + _title(family)[1:]


def _title(family: str) -> str:
    return family.title().replace("-", "")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8", newline="\n")
