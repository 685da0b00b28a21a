"""One open SMTP session: one mail after the other, until the server or the pool ends it.

What became of a mail is an error of this program here, if it is not the server's yes. A session counts as in
step only while every reply was read: whatever breaks, or is cancelled, leaves it unusable, so a late reply can
never be taken for another mail's.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiosmtplib import SMTP, SMTPStatus

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.border import speaking
from worker.smtp.replies import Phase, Reply, explain, judge
from worker.smtp.transaction import Accepted, Broken, Refused, Transaction
from worker.smtp.wire import Wire, taken_over

QUIT_SECONDS: Final = 5.0
FRESH_SECONDS: Final = 1.0


class StaleSessionError(TransientError):
    """The session had died while idle, before anything of this mail was accepted: another session may do."""


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
    """An open session. `expires_at` is the monotonic time its token ends at, None without a token.

    `committed` is true while the mail being sent may have been accepted already: from the last byte handed over
    until the server's reply to it. Whoever limits the time of `send` must not cut it then.
    """

    def __init__(self, smtp: SMTP, server: Server, timeout: float, *, expires_at: float | None) -> None:
        self.server = server
        self.expires_at = expires_at
        self._name = f"{smtp.hostname}:{smtp.port}"
        with speaking(Phase.AUTH):
            self._wire = Wire(taken_over(smtp), timeout)
        self._timeout = timeout
        self._mail: Transaction | None = None
        self._fresh_until = time.monotonic() + FRESH_SECONDS

    def __repr__(self) -> str:
        return f"<Session {self._name} usable={self.usable} {self.server.mechanism}>"

    @property
    def usable(self) -> bool:
        """Whether another mail can be sent on it."""
        return self._wire.free

    @property
    def committed(self) -> bool:
        """Whether the last mail may have been accepted, as far as anybody knows."""
        mail = self._mail
        return mail is not None and mail.committed and not isinstance(mail.outcome, Accepted | Refused)

    async def send(self, sender: str, recipient: str, message: bytes, *, smtputf8: bool) -> Reply:
        """Sends `message`, with CRLF line ends, to one recipient; returns the server's reply to all of it.

        Raises PermanentError or TransientError. The latter is `unknown` if the connection broke after the final
        dot and before its reply, and a StaleSessionError if an idle session turned out to be dead.
        """
        options = self._mail_options(message, smtputf8=smtputf8)
        self._mail = mail = Transaction(
            mail=b" ".join((b"MAIL FROM:" + _path(sender, smtputf8=smtputf8), *options)) + b"\r\n",
            rcpt=b"RCPT TO:%s\r\n" % _path(recipient, smtputf8=smtputf8),
            body=framed(message),
            grouped="pipelining" in self.server.extensions,
        )
        fresh = time.monotonic() < self._fresh_until
        self._fresh_until = 0.0
        outcome = await self._wire.carry(mail)
        if isinstance(outcome, Accepted):
            return outcome.reply
        error = _error(outcome)
        if isinstance(error, TransientError) and not fresh and _is_unheard(outcome):
            raise StaleSessionError(error.reason, error.detail, scope=error.scope)
        raise error

    async def close(self) -> None:
        """Takes leave of the server if the session is in step, within 5 seconds, and hangs up. Never raises."""
        await self._wire.leave(min(self._timeout, QUIT_SECONDS))

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


def _error(outcome: Refused | Broken) -> PermanentError | TransientError:
    if isinstance(outcome, Refused):
        return judge(outcome.phase, outcome.reply)
    error = explain(outcome.phase, outcome.fault)
    if not outcome.unknown:
        return error
    # The message's own trouble, not only the server's: each time it may have been delivered.
    return TransientError(error.reason, error.detail, scope=Scope.MESSAGE, unknown=True)


def _is_unheard(outcome: Refused | Broken) -> bool:
    """Whether the session ended before the server took notice of this mail."""
    return outcome.phase is Phase.MAIL and (
        isinstance(outcome, Broken) or outcome.reply.code == SMTPStatus.domain_unavailable
    )


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


_ADDRESS: Final = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^\s<>"\x00-\x1f\x7f]+)@[^\s<>"\x00-\x1f\x7f]+'
)
