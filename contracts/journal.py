"""The journal: a line of JSON for everything that became of a mail, in groups, in the stream `notify.journal`.

It holds no address, subject, body or secret: a mail is named by the left part of its Message-ID, and a server's
reply stands without the addresses in it. A message of the stream is a group of lines; its headers say which
worker wrote it, and under which settings.
"""

from enum import StrEnum
from typing import Final, Self

from pydantic import BaseModel, ConfigDict

CONTENT_TYPE: Final = "application/x-ndjson"
WORKER_HEADER: Final = "notify-worker"
SETTINGS_REV_HEADER: Final = "notify-settings-rev"


class What(StrEnum):
    """What became of a mail; the other words are said of a worker, or by a command.

    `STARTED` when a worker has begun to read along, `RELOADED` when it took other settings: the header of a
    message has the revision in force when it was written. `REDRIVEN` to `EDITED` say what an operator has begun
    to do with the dead letter `dead_id`, before it is done; `detail` is by whom, and the remark. `READ` marks
    the end for a command that reads.
    """

    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"
    RETRY = "retry"
    DEAD = "dead"
    INTERRUPTED = "interrupted"
    STARTED = "started"
    RELOADED = "reloaded"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"
    RESTORED = "restored"
    EDITED = "edited"
    READ = "read"


class Record(BaseModel):
    """One line. What does not apply is left out.

    `at` is RFC 3339 in UTC; `run` names the delivery this mail was settled with, after its copies were
    confirmed; `unknown` is true where the server may have accepted the mail although no reply came.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: str
    what: What
    mail: str = ""
    event: str = ""
    type: str = ""
    code: str = ""
    detail: str = ""
    lane: str = ""
    attempt: int = 0
    tier: str = ""
    dead_id: str = ""
    trace: str = ""
    run: str = ""
    unknown: bool = False

    def line(self) -> bytes:
        """The record as a line of the journal, without its end."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def read(cls, line: bytes) -> Self:
        """The record that `line` wrote. Raises pydantic's ValidationError for anything else."""
        return cls.model_validate_json(line)
