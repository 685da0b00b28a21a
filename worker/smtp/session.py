"""One open SMTP session: one mail after the other, until the server or the pool ends it.

What became of a mail is an error of this program here, if it is not the server's yes. Whatever breaks, or is
cancelled, leaves the session unusable, so a late reply can never be taken for another mail's.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiosmtplib import SMTP, SMTPStatus

from contracts.dead_letter import Reason
from contracts.signals import Attribute
from worker import metrics, telemetry
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.border import speaking
from worker.smtp.pace import Pace
from worker.smtp.reader import GarbledError
from worker.smtp.replies import Phase, Reply, explain, judge
from worker.smtp.transaction import (
    Accepted,
    Broken,
    BroughtDownError,
    ClosedError,
    OutOfStepError,
    Refused,
    Transaction,
)
from worker.smtp.wire import Wire, taken_over

QUIT_SECONDS: Final = 5.0
FRESH_SECONDS: Final = 1.0


class StaleSessionError(TransientError):
    """The server took no notice of this mail, for a reason other than the mail: another session may do."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the server said of itself: its greeting, its extensions in lower case, and how the login was made.

    `tls_version` is such as `TLSv1.3`, empty without encryption; `mechanism` is empty for anonymous sessions.
    """

    greeting: str
    extensions: Mapping[str, str]
    tls_version: str
    mechanism: str


class Session:
    """An open session. `expires_at` is the monotonic time its token ends at, None without a token."""

    def __init__(self, smtp: SMTP, server: Server, timeout: float, *, expires_at: float | None) -> None:
        self.server = server
        self.expires_at = expires_at
        self._name = f"{smtp.hostname}:{smtp.port}"
        with speaking(Phase.AUTH):
            self._wire = Wire(taken_over(smtp), timeout)
        self._timeout = timeout
        self._fresh_until = time.monotonic() + FRESH_SECONDS

    def __repr__(self) -> str:
        return f"<Session {self._name} usable={self.usable} {self.server.mechanism}>"

    @property
    def usable(self) -> bool:
        """Whether another mail can be sent on it."""
        return self._wire.free

    async def send(
        self,
        sender: str,
        recipient: str,
        message: bytes,
        *,
        smtputf8: bool,
        pace: Pace | None = None,
        ending: Callable[[], None] | None = None,
    ) -> Reply:
        """Sends `message`, with CRLF line ends, to one recipient; returns the server's reply to all of it.

        No faster than at the server's `pace`. `ending` is called as soon as the next mail may be sent on this
        session, which is before the reply to this one where the server takes that. Raises PermanentError or
        TransientError. The latter is `unknown` if the connection broke, or this was cancelled, after the final
        dot and before its reply; it is a StaleSessionError if the server took no notice of the mail for a
        reason that is none of the mail's.
        """
        pace = pace or Pace()
        mail = self._transaction(sender, recipient, message, smtputf8=smtputf8, grouped=pace.grouped)
        fresh = time.monotonic() < self._fresh_until
        self._fresh_until = 0.0
        try:
            outcome = await self._wire.carry(mail, ending if mail.grouped and pace.overlapping else None)
        except asyncio.CancelledError:
            if mail.committed:
                raise _cut_off() from None
            raise
        _tell(outcome)
        if isinstance(outcome, Accepted):
            return outcome.reply
        raise _failure(mail, outcome, pace, sender, fresh=fresh)

    async def close(self) -> None:
        """Takes leave of the server if the session is in step, within 5 seconds, and hangs up. Never raises."""
        await self._wire.leave(min(self._timeout, QUIT_SECONDS))

    def _transaction(
        self, sender: str, recipient: str, message: bytes, *, smtputf8: bool, grouped: bool
    ) -> Transaction:
        options = self._mail_options(message, smtputf8=smtputf8)
        return Transaction(
            mail=b" ".join((b"MAIL FROM:" + _path(sender, smtputf8=smtputf8), *options)) + b"\r\n",
            rcpt=b"RCPT TO:%s\r\n" % _path(recipient, smtputf8=smtputf8),
            body=framed(message),
            grouped=grouped and "pipelining" in self.server.extensions,
        )

    def _mail_options(self, message: bytes, *, smtputf8: bool) -> list[bytes]:
        """The parameters of MAIL. Raises PermanentError for what the server is known not to accept."""
        offered = self.server.extensions
        limit = offered.get("size", "")
        if limit.isdecimal() and 0 < int(limit) < len(message):
            raise PermanentError(Reason.MESSAGE_TOO_LARGE, f"{len(message)} bytes, the server accepts {limit}")
        if smtputf8 and "smtputf8" not in offered:
            raise PermanentError(Reason.ADDRESS_UNSUPPORTED)
        options = [b"SIZE=%d" % len(message)] if "size" in offered else []
        if "8bitmime" in offered and not message.isascii():
            options.append(b"BODY=8BITMIME")
        return [*options, b"SMTPUTF8"] if smtputf8 else options


def _tell(outcome: Accepted | Refused | Broken) -> None:
    """Says of the span around, and counts, the reply that decided."""
    if isinstance(outcome, Broken):
        metrics.smtp_replies.add("0")
        return
    reply = outcome.reply
    metrics.smtp_replies.add(str(reply.code))
    telemetry.describe({Attribute.SMTP_STATUS_CODE: reply.code, Attribute.SMTP_ENHANCED_CODE: reply.enhanced})


def _failure(
    mail: Transaction, outcome: Refused | Broken, pace: Pace, sender: str, *, fresh: bool
) -> PermanentError | TransientError:
    """The error that a mail's outcome is, and what is learned of the server's pace."""
    error = _error(outcome, sender)
    unheard = _is_unheard(outcome) and (mail.follows or not fresh)
    too_fast = mail.grouped and _is_out_of_step(mail, outcome)
    if too_fast:
        pace.stumbled(overlapping=mail.follows)
    # What may be due to our haste is believed of a mail only when it is said once more, at a slower pace.
    if unheard or (too_fast and (mail.follows or isinstance(error, PermanentError))):
        return StaleSessionError(error.reason, error.detail, scope=Scope.SERVER)
    return error


def _error(outcome: Refused | Broken, sender: str) -> PermanentError | TransientError:
    if isinstance(outcome, Refused):
        return judge(outcome.phase, outcome.reply, sender)
    error = explain(outcome.phase, outcome.fault)
    return _unknown(error.detail) if outcome.unknown else error


def _cut_off() -> TransientError:
    return _unknown("the worker was stopped before the server replied to the whole message")


def _unknown(detail: str) -> TransientError:
    # The message's own trouble, not only the server's: each time it may have been delivered.
    return TransientError(Reason.SMTP_UNREACHABLE, detail, scope=Scope.MESSAGE, unknown=True)


def _is_unheard(outcome: Refused | Broken) -> bool:
    """Whether the session ended before the server took notice of this mail."""
    return outcome.phase is Phase.MAIL and (
        isinstance(outcome, Broken) or outcome.reply.code == SMTPStatus.domain_unavailable
    )


def _is_out_of_step(mail: Transaction, outcome: Refused | Broken) -> bool:
    """Whether the server may have been told too much at once."""
    if isinstance(outcome, Refused):
        return outcome.phase is not Phase.BODY and _COMPLAINT.search(outcome.reply.line) is not None
    if mail.follows and outcome.phase is Phase.MAIL:
        return not isinstance(outcome.fault, BroughtDownError | ClosedError)
    return outcome.phase in _GROUPED and isinstance(outcome.fault, TimeoutError | OutOfStepError | GarbledError)


def framed(message: bytes) -> bytes:
    """`message` as it follows DATA: dots that begin a line doubled, and the final dot (RFC 5321 section 4.5.2).

    Raises PermanentError for line ends other than CRLF, behind which a second mail could be smuggled.
    """
    lines = message.count(b"\r\n")
    if message.count(b"\n") != lines or message.count(b"\r") != lines:
        raise PermanentError(Reason.UNEXPECTED, "the message has line ends other than CRLF")
    first = b"." if message.startswith(b".") else b""
    end = b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"
    return first + message.replace(b"\r\n.", b"\r\n..") + end


def _path(address: str, *, smtputf8: bool) -> bytes:
    """`address` in angle brackets. Raises PermanentError for one that would break out of its command."""
    if not _ADDRESS.fullmatch(address) or not (smtputf8 or address.isascii()):
        raise PermanentError(Reason.ADDRESS_UNSUPPORTED, "it cannot stand in an SMTP command")
    return b"<%s>" % address.encode()


_GROUPED: Final = frozenset({Phase.RCPT, Phase.DATA})
"""What is said without waiting for a reply. A server that is silent from the beginning is no slow listener."""

_COMPLAINT: Final = re.compile(r"^50[023]|synchroni|pipelining", re.IGNORECASE)

_ADDRESS: Final = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^\s<>"\x00-\x1f\x7f]+)@[^\s<>"\x00-\x1f\x7f]+'
)
