"""Message properties that the AMQP client cannot read are read all the same.

The client decodes strictly, in the task that reads the connection: one property that is not UTF-8, or a
timestamp beyond the calendar, ends the connection with everything in work on it, as often as the broker
delivers the message. The body is what matters, and it is bytes; such a property is read as well as it can be.
"""

from datetime import UTC, datetime
from typing import Any

from pamqp import decode

_NO_MOMENT = datetime.fromtimestamp(0, UTC)


def read_odd_properties() -> None:
    """From now on, in this process, no property of a message can end a connection. May be called again."""
    decode.METHODS.update(shortstr=_short_text, timestamp=_moment, table=_table)
    decode.TABLE_MAPPING.update({b"T": _moment, b"F": _table})


def _short_text(value: bytes) -> tuple[int, str]:
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _moment(value: bytes) -> tuple[int, datetime]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, _NO_MOMENT


def _table(value: bytes) -> tuple[int, dict[str, Any]]:
    try:
        return decode.field_table(value)
    except (ValueError, RecursionError):
        # Headers that cannot be told apart: the event does without them.
        return 4 + int.from_bytes(value[:4], "big"), {}
