"""Names of spans, span attributes, metrics and log actions: what dashboards, alerts and people search for.

Only what the worker really emits stands here. Messaging names follow OpenTelemetry's semantic conventions for
RabbitMQ (development status, version 1.44); SMTP has no conventions, so those names are ours.
"""

from enum import StrEnum
from typing import Final

INSTRUMENTATION: Final = "notify-worker"


class Span(StrEnum):
    """Names of spans; `PROCESS`, `SEND`, `SETTLE` and `REDRIVE` are followed by the queue or exchange."""

    PROCESS = "process"
    RENDER = "render"
    SMTP_SEND = "smtp send"
    SMTP_CONNECT = "smtp connect"
    SMTP_STARTTLS = "smtp starttls"
    SMTP_AUTH = "smtp auth"
    TOKEN = "POST"  # noqa: S105 - a name, no secret
    SEND = "send"
    REDRIVE = "redrive"
    SETTLE = "settle"


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
    SMTP_AUTH_MECHANISM = "smtp.auth.mechanism"
    TLS_VERSION = "tls.protocol.version"
    HTTP_METHOD = "http.request.method"
    HTTP_STATUS_CODE = "http.response.status_code"
    ERROR_TYPE = "error.type"
    EVENT_TYPE = "notify.event.type"
    ATTEMPT = "notify.attempt"
    REDELIVERED = "notify.redelivered"
    OUTCOME = "notify.outcome"
    CODE = "notify.code"
    MAILS = "notify.mails"
    TEMPLATE = "notify.template"
    LANGUAGE = "notify.language"


class Metric(StrEnum):
    """Names of metrics; Prometheus writes `_` for each dot, and adds the unit and, for counters, `_total`."""

    CONSUMED = "messaging.client.consumed.messages"
    PROCESS_DURATION = "messaging.process.duration"
    SENT = "messaging.client.sent.messages"
    OPERATION_DURATION = "messaging.client.operation.duration"
    OUTCOMES = "notify.outcomes"
    EVENT_AGE = "notify.event.age"
    RETRIES = "notify.retries"
    DEAD_LETTERS = "notify.dead_letters"
    EXPIRED = "notify.expired"
    REDELIVERIES = "notify.redeliveries"
    DUPLICATES_PREVENTED = "notify.duplicates.prevented"
    INFLIGHT = "notify.inflight"
    PREFETCH_UTILIZATION = "notify.prefetch.utilization"
    WORK_DEPTH = "notify.work.depth"
    DEAD_DEPTH = "notify.dead.depth"
    SMTP_SESSIONS = "notify.smtp.sessions"
    SMTP_POOL_WAIT = "notify.smtp.pool.wait"
    SMTP_SEND_DURATION = "notify.smtp.send.duration"
    SMTP_REPLIES = "notify.smtp.replies"
    TOKEN_EXPIRES_IN = "notify.oauth2.token.expires_in"  # noqa: S105 - a name, no secret
    BREAKER_STATE = "notify.breaker.state"
    BROKER_CONNECTED = "notify.broker.connected"
    TOPOLOGY_DIFFERS = "notify.topology.differs"


class Label(StrEnum):
    """What metrics are told apart by. No address, subject, event id or error text is ever one of them."""

    DESTINATION = "messaging.destination.name"
    OUTCOME = "outcome"
    EVENT_TYPE = "event_type"
    CODE = "code"
    CLASS = "class"
    LANE = "lane"
    TIER = "tier"
    RESULT = "result"
    QUEUE = "queue"
    STATE = "state"
    SERVER = "server"


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
    HEALTH = "health"
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
