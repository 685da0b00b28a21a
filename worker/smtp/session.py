"""One open SMTP session: one mail after the other, until the server or the pool ends it.

aiosmtplib speaks; what it raises becomes an error of this program at the border. A session counts as in step
only between mails whose every reply was read: whatever breaks, or is cancelled, in between leaves it unusable,
so a late reply can never be taken for another mail's.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, cast

from aiosmtplib import SMTP, SMTPException, SMTPServerDisconnected, SMTPStatus

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.border import reply_of, speaking
from worker.smtp.replies import Phase, Reply, explain, judge

FINAL_REPLY_SECONDS: Final = 600.0  # RFC 5321 section 4.5.3.2.6
QUIT_SECONDS: Final = 5.0
FRESH_SECONDS: Final = 1.0
BLOCK_BYTES: Final = 64 * 1024


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
        if smtp.protocol is None:
            raise explain(Phase.AUTH, SMTPServerDisconnected("Connection lost"))
        self.server = server
        self.expires_at = expires_at
        self.committed = False
        self._smtp = smtp
        self._protocol = smtp.protocol
        self._writer = asyncio.StreamWriter(
            cast("asyncio.WriteTransport", smtp.protocol.transport),
            smtp.protocol,
            None,
            asyncio.get_running_loop(),
        )
        self._timeout = timeout
        self._in_step = True
        self._fresh_until = time.monotonic() + FRESH_SECONDS

    def __repr__(self) -> str:
        return f"<Session {self._smtp.hostname}:{self._smtp.port} usable={self.usable} {self.server.mechanism}>"

    @property
    def usable(self) -> bool:
        """Whether another mail can be sent on it."""
        return self._in_step and self._smtp.is_connected

    async def send(self, sender: str, recipient: str, message: bytes, *, smtputf8: bool) -> Reply:
        """Sends `message`, with CRLF line ends, to one recipient; returns the server's reply to all of it.

        Raises PermanentError or TransientError. The latter is `unknown` if the connection broke after the final
        dot and before its reply, and a StaleSessionError if an idle session turned out to be dead.
        """
        options = self._mail_options(message, smtputf8=smtputf8)
        source = b"FROM:" + _path(sender, smtputf8=smtputf8)
        target = b"TO:" + _path(recipient, smtputf8=smtputf8)
        data = framed(message)
        fresh = time.monotonic() < self._fresh_until
        self._in_step, self._fresh_until = False, 0.0
        try:
            await self._begin(b"MAIL", source, *options, fresh=fresh)
            await self._ask(Phase.RCPT, b"RCPT", target)
            await self._ask(Phase.DATA, b"DATA")
        except (PermanentError, TransientError):
            await self._reset()
            raise
        await self._upload(data)
        return await self._verdict(sender)

    async def close(self) -> None:
        """Takes leave of the server if the session is in step, within 5 seconds, and hangs up. Never raises."""
        with ExitStack() as otherwise:
            otherwise.callback(self._hang_up)
            if self.usable:
                with suppress(SMTPException, OSError):
                    await self._smtp.quit(timeout=min(self._timeout, QUIT_SECONDS))
                    otherwise.pop_all()

    def _hang_up(self) -> None:
        # Closing the transport would go on sending what is buffered of a mail that was given up.
        self._writer.transport.abort()
        self._smtp.close()

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

    async def _begin(self, *command: bytes, fresh: bool) -> None:
        try:
            await self._ask(Phase.MAIL, *command)
        except TransientError as error:
            if fresh or self._smtp.is_connected:
                raise
            raise StaleSessionError(error.reason, error.detail, scope=error.scope) from error

    async def _ask(self, phase: Phase, *command: bytes) -> None:
        with speaking(phase):
            response = await self._smtp.execute_command(*command)
        if not _is_yes(phase, response.code):
            raise judge(phase, reply_of(response))

    async def _reset(self) -> None:
        """After a refusal the server forgets the mail, and the session is in step again, if it answers."""
        with suppress(SMTPException, OSError):
            await self._smtp.rset()
            self._in_step = True

    async def _upload(self, data: bytes) -> None:
        """Hands over everything; a connection that breaks before the last block breaks before the final dot."""
        last = (len(data) - 1) // BLOCK_BYTES * BLOCK_BYTES
        with speaking(Phase.BODY):
            for start in range(0, last, BLOCK_BYTES):
                self._protocol.write(data[start : start + BLOCK_BYTES])
                async with asyncio.timeout(self._timeout):
                    await self._writer.drain()
            self._protocol.write(data[last:])
        self.committed = True

    async def _verdict(self, sender: str) -> Reply:
        try:
            response = await self._protocol.read_response(timeout=FINAL_REPLY_SECONDS)
        except (SMTPException, OSError) as lost:
            # The message's own trouble, not only the server's: each time it may have been delivered.
            detail = explain(Phase.BODY, lost).detail
            raise TransientError(Reason.SMTP_UNREACHABLE, detail, scope=Scope.MESSAGE, unknown=True) from lost
        self.committed = False
        if response.code // 100 == _POSITIVE:
            self._in_step = True
            return reply_of(response)
        if response.code != SMTPStatus.domain_unavailable:
            # The mail is over (RFC 5321 section 4.1.1.4), but Postfix 3.7 keeps one whose end it refused.
            await self._reset()
        raise judge(Phase.BODY, reply_of(response), sender)


def _is_yes(phase: Phase, code: int) -> bool:
    return code == SMTPStatus.start_input if phase is Phase.DATA else code // 100 == _POSITIVE


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


_POSITIVE: Final = 2
"""First digit of a reply that says yes, whatever the others (RFC 5321 section 4.2.1)."""

_ADDRESS: Final = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"|[^\s<>"\x00-\x1f\x7f]+)@[^\s<>"\x00-\x1f\x7f]+'
)
