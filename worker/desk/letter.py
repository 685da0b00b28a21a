"""A dead letter as the desk sees it: what its headers say, and what can be told of one that has none of ours.

The broker makes dead letters too (delivery limit), and keeps what no queue takes. They get a class and code
from their routing key, and an id from their content: the same from a queue and from the stream of copies.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final, Self

from aio_pika.abc import AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from contracts.dead_letter import ABOUT, HEADER_PREFIX, About, DeadClass, Reason
from contracts.topology import Lane

UNROUTABLE: Final = "unroutable"
"""Class and code of what no queue takes, and the end of its queue's name."""

UNNAMED: Final = "unnamed"
"""The code of a message that somebody put into a dead queue, and that says nothing of itself."""

DERIVED: Final = "x"
"""What ids begin with that were made from the content."""

_CLASSES: Final = frozenset(map(str, DeadClass))
_CODES: Final = frozenset(map(str, Reason))
_LANES: Final = frozenset(map(str, Lane))
_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_DELIVERY_LIMIT: Final = {"delivery_limit": (DeadClass.POISON, Reason.DELIVERY_LIMIT)}


@dataclass(frozen=True, slots=True)
class Properties:
    """The AMQP properties that a copy keeps."""

    content_type: str | None = None
    content_encoding: str | None = None
    message_id: str | None = None
    timestamp: datetime | None = None
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    app_id: str | None = None
    priority: int | None = None

    @classmethod
    def copied(cls, said: AbstractIncomingMessage | Basic.Properties, message_type: str | None) -> Self:
        """Those of a message; the client's two ways of delivering name only its type differently."""
        return cls(
            content_type=said.content_type,
            content_encoding=said.content_encoding,
            message_id=said.message_id,
            timestamp=said.timestamp,
            type=message_type,
            correlation_id=said.correlation_id,
            reply_to=said.reply_to,
            app_id=said.app_id,
            priority=said.priority,
        )


@dataclass(frozen=True)
class Letter:
    """One dead letter. `headers`, `body` and `properties` are the message's; nothing in them is redacted.

    `died` is aware, None where nobody has noted it; `lane` is empty where none is known. `queue` is the full
    name of the dead queue that holds it.
    """

    id: str
    queue: str
    dead_class: str
    code: str
    lane: str
    died: datetime | None
    event_id: str
    event_type: str
    origin_queue: str
    origin_key: str
    headers: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)
    properties: Properties = field(repr=False)

    @classmethod
    def read(
        cls, queue: str, key: str, headers: Mapping[str, Any], body: bytes, properties: Properties
    ) -> Self:
        """The letter in a message of the dead queue `queue`, whose routing key is `key`. Any message is one."""
        said = _Said(queue, key, headers, body, properties)
        dead_class, code = said.cause
        return cls(
            id=said.id,
            queue=queue,
            dead_class=dead_class,
            code=code,
            lane=_lane(said.origin_queue),
            died=said.died,
            event_id=said.event("id"),
            event_type=said.event("type"),
            origin_queue=said.origin_queue,
            origin_key=said.ours("origin-key") or ("" if said.is_ours else said.first_key),
            headers=headers,
            body=body,
            properties=properties,
        )

    @classmethod
    def of(cls, message: AbstractIncomingMessage, queue: str) -> Self:
        """The letter that `message` is, of the dead queue `queue` or copied from there."""
        properties = Properties.copied(message, message.type)
        return cls.read(queue, message.routing_key or "", message.headers, message.body, properties)

    @classmethod
    def delivered(cls, message: DeliveredMessage, queue: str) -> Self:
        """As `of`, from what the lower client delivers: half the cost, for whoever reads thousands."""
        said = message.header.properties
        properties = Properties.copied(said, said.message_type)
        return cls.read(queue, message.routing_key or "", said.headers or {}, message.body, properties)

    @property
    def group(self) -> str:
        """The id of the group it belongs to."""
        return group_id(self.dead_class, self.code)

    @property
    def derived(self) -> bool:
        """Whether its id was made from its content: two equal messages have the same."""
        return self.id.startswith(DERIVED)

    def said(self, name: str) -> str:
        """The header `notify-<name>` as text; empty where there is none, or it is not ours."""
        value = "" if self.derived else self.headers.get(HEADER_PREFIX + name, "")
        return str(value) if isinstance(value, str | int) else ""

    @property
    def about(self) -> About:
        """The sentence, what to do, and the settings at fault, as they were said when it died."""
        known = about(self.dead_class, self.code)
        settings = tuple(filter(None, self.said("setting").split(",")))
        return About(
            dead_class=known.dead_class,
            text=self.said("text") or known.text,
            hint=self.said("hint") or known.hint,
            settings=settings or known.settings,
        )

    def without_body(self) -> Self:
        """The same with no body, for whoever keeps very many."""
        return type(self)(**{**vars(self), "body": b""})


def group_id(dead_class: str, code: str) -> str:
    """Six hex digits that name a cause: a class and code, whatever the lane."""
    return hashlib.sha256(f"{dead_class}\0{code}".encode()).hexdigest()[:6]


def about(dead_class: str, code: str) -> About:
    """What is said of a cause, of every code of the contract and of those that only the desk knows."""
    if code in _CODES and ABOUT[Reason(code)].dead_class == dead_class:
        return ABOUT[Reason(code)]
    return _UNROUTABLE if code == UNROUTABLE else _UNNAMED


_UNROUTABLE: Final = About.of(
    DeadClass.POISON,
    "No queue takes an event with this routing key",
    "Correct the routing key in the publisher: it begins with workflow., form., password-reset. or system.; "
    "then send these again with the right key.",
)
_UNNAMED: Final = About.of(
    DeadClass.POISON,
    "A message that says nothing of how it died: another tool has put it here, or a newer worker",
    "See what it is; then send it again or discard it.",
)


class _Said:
    """What one message says of itself. Anybody may have written it, so every part is looked at."""

    def __init__(
        self, queue: str, key: str, headers: Mapping[str, Any], body: bytes, properties: Properties
    ) -> None:
        self._queue = queue
        self._key = key
        self._headers = headers
        self._body = body
        self._properties = properties

    @cached_property
    def is_ours(self) -> bool:
        """Whether a worker wrote it: what came from a publisher as it is may claim to be anything."""
        dead_id = self._text("notify-dead-id")
        return not self._is_unroutable and bool(_NAME.fullmatch(dead_id)) and not dead_id.startswith(DERIVED)

    @property
    def _is_unroutable(self) -> bool:
        return self._queue.endswith(f".{UNROUTABLE}")

    @property
    def id(self) -> str:
        if self.is_ours:
            return self._text("notify-dead-id")
        moment = self._properties.timestamp
        told = f"{self._properties.message_id or ''}\0{int(moment.timestamp()) if moment else ''}\0"
        return DERIVED + hashlib.sha256(told.encode(errors="replace") + self._body).hexdigest()[:16]

    @property
    def cause(self) -> tuple[str, str]:
        """Class and code."""
        if self._is_unroutable:
            return UNROUTABLE, UNROUTABLE
        named = (self.ours("class"), self.ours("code"))
        if all(map(_NAME.fullmatch, named)):
            return named
        keyed = tuple(self._key.split("."))
        if len(keyed) == 2 and keyed[0] in _CLASSES and keyed[1] in _CODES:  # noqa: PLR2004 - class.code
            return keyed[0], keyed[1]
        stated = (self._queue.rpartition(".")[2], UNNAMED)
        return _DELIVERY_LIMIT.get(self._text("x-first-death-reason"), stated)

    @property
    def died(self) -> datetime | None:
        said = _moment(self.ours("died")) or self._first_death.get("time") or self._properties.timestamp
        return _aware(said) if isinstance(said, datetime) else None

    @property
    def origin_queue(self) -> str:
        death = self._first_death.get("queue")
        return (
            self.ours("origin-queue")
            or self._text("x-first-death-queue")
            or (death if isinstance(death, str) else "")
        )

    @property
    def first_key(self) -> str:
        """The key it was published with first."""
        keys = self._first_death.get("routing-keys")
        return keys[0] if isinstance(keys, list) and keys and isinstance(keys[0], str) else self._key

    def ours(self, name: str) -> str:
        return self._text(HEADER_PREFIX + name) if self.is_ours else ""

    def event(self, name: str) -> str:
        """The event's id or type: what the worker read, else what the body says."""
        return self.ours(f"event-{name}") if self.is_ours else self._envelope.get(name, "")

    @cached_property
    def _envelope(self) -> dict[str, str]:
        with suppress(ValueError, RecursionError):
            body = json.loads(self._body)
            if isinstance(body, dict):
                return {name: value for name, value in body.items() if isinstance(value, str)}
        return {}

    @property
    def _first_death(self) -> Mapping[str, Any]:
        deaths = self._headers.get("x-death")
        return deaths[-1] if isinstance(deaths, list) and deaths and isinstance(deaths[-1], dict) else {}

    def _text(self, name: str) -> str:
        value = self._headers.get(name, "")
        return value if isinstance(value, str) else ""


def _lane(queue: str) -> str:
    name = queue.rpartition(".")[2]
    return name if ".work." in queue and name in _LANES else ""


def _moment(text: str) -> datetime | None:
    with suppress(ValueError):
        return datetime.fromisoformat(text)
    return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
