"""A note in the stream of dead letters that some were taken out of their queue: retried, discarded or edited.

The stream keeps its copies; whoever reads it leaves out what was removed after its copy. Whoever takes letters
out publishes one note for a group of them, through the default exchange to the stream, when the broker has been
told of their acknowledgement. A note that is missing costs the reader a look into the queue, never a letter.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

import aio_pika

REMOVAL_HEADER: Final = "notify-removal"
CONTENT_TYPE: Final = "application/json"


class How(StrEnum):
    """What was done with the letters."""

    RETRIED = "retried"
    DISCARDED = "discarded"
    EDITED = "edited"


@dataclass(frozen=True, slots=True)
class Removal:
    """Letters with these ids are no longer in their queue.

    `at` is RFC 3339; `by` and `note` are as the operator said.

    A letter whose copy comes later in the stream, since it was restored, is there again.
    """

    ids: tuple[str, ...]
    how: How
    at: str = ""
    by: str = ""
    note: str = ""

    def message(self) -> aio_pika.Message:
        """The note, persistent, to be published to the stream."""
        document = {"ids": self.ids, "at": self.at, "by": self.by, "note": self.note}
        return aio_pika.Message(
            json.dumps(document).encode(),
            headers={REMOVAL_HEADER: str(self.how)},
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )

    @classmethod
    def read(cls, headers: Mapping[str, Any], body: bytes) -> Self | None:
        """The note in a message of the stream; None for any other message."""
        how = headers.get(REMOVAL_HEADER)
        if how is None:
            return None
        try:
            said = json.loads(body)
            texts = {name: str(said.get(name, "")) for name in ("at", "by", "note")}
            return cls(tuple(map(str, said["ids"])), How(how), **texts)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
