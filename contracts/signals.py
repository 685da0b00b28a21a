"""Names of spans, span attributes and log actions: what dashboards, alerts and people search for.

Only what the worker really emits stands here. Messaging names follow OpenTelemetry's semantic conventions for
RabbitMQ (development status, version 1.44); SMTP has no conventions, so those names are ours.
"""

from enum import StrEnum
from typing import Final

INSTRUMENTATION: Final = "notify-worker"


class Span(StrEnum):
    """Names of spans; `PROCESS`, `SEND` and `REDRIVE` are followed by the queue or exchange."""

    PROCESS = "process"
    RENDER = "render"
    SMTP_SEND = "smtp send"
    SMTP_CONNECT = "smtp connect"
    SEND = "send"
    REDRIVE = "redrive"


class Attribute(StrEnum):
    """Names of span attributes. None of them ever holds an address, a subject or a secret."""

    MESSAGING_SYSTEM = "messaging.system"
    MESSAGING_OPERATION_NAME = "messaging.operation.name"
    MESSAGING_OPERATION_TYPE = "messaging.operation.type"
    MESSAGING_DESTINATION = "messaging.destination.name"
    MESSAGING_ROUTING_KEY = "messaging.rabbitmq.destination.routing_key"
    MESSAGING_MESSAGE_ID = "messaging.message.id"
    SERVER_ADDRESS = "server.address"
    SERVER_PORT = "server.port"
    NETWORK_PROTOCOL = "network.protocol.name"
    SMTP_STATUS_CODE = "smtp.response.status_code"
    SMTP_ENHANCED_CODE = "smtp.response.enhanced_code"
    SMTP_SESSION_REUSED = "smtp.session.reused"
    ERROR_TYPE = "error.type"
    EVENT_TYPE = "notify.event.type"
    ATTEMPT = "notify.attempt"
    REDELIVERED = "notify.redelivered"
    OUTCOME = "notify.outcome"
    CODE = "notify.code"
    MAILS = "notify.mails"
    TEMPLATE = "notify.template"
    LANGUAGE = "notify.language"


class Action(StrEnum):
    """Values of `action` in log lines: what the worker did."""

    START = "start"
    READY = "ready"
    BROKER_WAIT = "broker-wait"
    BROKER_LOST = "broker-lost"
    BROKER_BACK = "broker-back"
    SETTLE = "settle"
    PAUSE = "pause"
    PROBE = "probe"
    RESUME = "resume"
    LOGIN_REFUSED = "login-refused"
    ADOPT = "adopt"
    SUSPECT = "suspect"
    JOURNAL = "journal"
    RELOAD = "reload"
    REDRIVE = "redrive"
    DRAIN = "drain"
    STOP = "stop"
    WARN = "warn"


class LogField(StrEnum):
    """Fields of a log line, beside whatever the action needs."""

    TIME = "time"
    LEVEL = "level"
    ACTION = "action"
    OUTCOME = "outcome"
    EVENT_ID = "event_id"
    EVENT_TYPE = "event_type"
    CODE = "code"
    TRACE_ID = "trace_id"
