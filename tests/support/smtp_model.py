"""A mail server without any I/O that goes wrong at some of its replies, and the driver that talks to it.

Bytes go to and fro in pieces of any size. What the server really took is known, and every reply names the mail
it is about, so that a reply taken for another mail's shows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import cycle
from typing import Final

from worker.smtp.transaction import Accepted, Broken, Conversation, Refused, Transaction


class Fault(StrEnum):
    """What a reply can be instead of what it should be."""

    NO_4 = "451, and nothing done"
    NO_5 = "550, and nothing done"
    KEEPS = "451, and the transaction kept, as Postfix 3.7 does after a message"
    CLOSES = "421, and the connection closed"
    CUT = "the connection cut, and nothing done"
    CUT_AFTER = "the connection cut, once all was done"
    CUT_AMID = "the connection cut amid the reply, once all was done"
    SILENT = "nothing ever again"
    TWICE = "the reply given twice"
    WRONG_YES = "250, and nothing done"
    WRONG_GO_ON = "354, and nothing done"
    GARBAGE = "no SMTP at all"
    ENDLESS = "a reply without end"
    LONG = "a reply of many lines"  # which is no fault


ALL: Final = 1 << 20
LONGEST_REPLY: Final = 32 * 1024
"""What `talk_all` takes: short, since it is tried byte by byte."""

LEAVES_NO_DOUBT: Final = frozenset({Fault.NO_4, Fault.NO_5, Fault.KEEPS, Fault.CLOSES, Fault.LONG})


@dataclass
class ModelServer:
    """Goes wrong with its replies as `faults` says, by their number from 0.

    A `lenient` one says 354 even if it refused all recipients (RFC 2920 section 3.1). `took` is what it took:
    sender, recipients, message. `heard` is what came, piece by piece; `replies` counts what it replied to.
    A reply without end has `endless` lines of some 100 bytes.
    """

    faults: Mapping[int, Fault] = field(default_factory=dict)
    lenient: bool = False
    endless: int = 400
    out: bytearray = field(default_factory=bytearray)
    closed: bool = False
    replies: int = 0
    took: list[tuple[bytes, tuple[bytes, ...], bytes]] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._heard = b""
        self._sender = b""
        self._recipients: list[bytes] = []
        self._about = b"nobody"
        self._listening = False
        self._silent = False

    def hear(self, data: bytes) -> None:
        """Takes what the client sends."""
        self.heard.append(data)
        self._heard += data
        while not self.closed and (taken := self._next()):
            self._heard = self._heard[len(taken) :]
            if self._listening:
                self._message(taken.removesuffix(b".\r\n"))
            else:
                self._command(taken)

    def _next(self) -> bytes:
        """The next command, or the message to its end; nothing while that is incomplete."""
        if not self._listening:
            line, end, _ = self._heard.partition(b"\n")
            return line + end if end else b""
        if self._heard.startswith(b".\r\n"):
            return b".\r\n"
        message, end, _ = self._heard.partition(b"\r\n.\r\n")
        return message + end if end else b""

    def _command(self, line: bytes) -> None:
        verb = line[:4].decode()
        if verb in {"MAIL", "RCPT"}:
            self._about = line.split(b"<")[1].split(b">")[0]
        act = {"MAIL": self._mail, "RCPT": self._rcpt, "DATA": self._data, "RSET": self._rset}
        act.get(verb, self._quit)()

    def _mail(self) -> None:
        def begin() -> None:
            self._sender, self._recipients = self._about, []

        if self._sender:
            self._reply(503)
        else:
            self._reply(250, begin)

    def _rcpt(self) -> None:
        if self._sender:
            self._reply(250, lambda: self._recipients.append(self._about))
        else:
            self._reply(503)

    def _data(self) -> None:
        def listen() -> None:
            self._listening = True

        if self._recipients or (self.lenient and self._sender):
            self._reply(354, listen)
        else:
            self._reply(554)

    def _message(self, content: bytes) -> None:
        def take() -> None:
            if self._recipients:
                self.took.append((self._sender, tuple(self._recipients), content))

        self._listening = False
        keeps = self.faults.get(self.replies) is Fault.KEEPS
        self._reply(250 if self._recipients else 554, take)
        if not keeps:
            self._forget()

    def _rset(self) -> None:
        self._reply(250, self._forget)

    def _forget(self) -> None:
        self._sender, self._recipients = b"", []

    def _quit(self) -> None:
        self._reply(221)
        self.closed = True

    def _reply(self, code: int, act: Callable[[], None] = lambda: None) -> None:
        """Acts and replies, as far as there is no fault in it."""
        fault = self.faults.get(self.replies)
        self.replies += 1
        right = b"%d" % code
        said = _INSTEAD.get(fault, right) if fault else right
        if said == right and fault is not Fault.CUT:
            act()
        self._silent = self._silent or fault is Fault.SILENT
        if self._silent:
            return
        self.out += _garbled(fault, said, said + b" about <%s>\r\n" % self._about, self.endless)
        self.closed = self.closed or fault in _CLOSING


def _garbled(fault: Fault | None, code: bytes, line: bytes, endless: int) -> bytes:
    """What comes instead of the reply `line`."""
    on_and_on = code + b"-" + b"on and on " * 10 + b"\r\n"
    match fault:
        case Fault.CUT | Fault.CUT_AFTER:
            line = b""
        case Fault.CUT_AMID:
            line = line[:-1]
        case Fault.TWICE:
            line *= 2
        case Fault.GARBAGE:
            line = b"<html>\r\n"
        case Fault.ENDLESS:
            line = on_and_on * endless
        case Fault.LONG:
            line = on_and_on * 50 + line
        case _:
            pass
    return line


_INSTEAD: Final = {
    Fault.NO_4: b"451",
    Fault.NO_5: b"550",
    Fault.KEEPS: b"451",
    Fault.CLOSES: b"421",
    Fault.WRONG_YES: b"250",
    Fault.WRONG_GO_ON: b"354",
}
_CLOSING: Final = frozenset({Fault.CLOSES, Fault.CUT, Fault.CUT_AFTER, Fault.CUT_AMID})


def mail_to(number: int, *, grouped: bool = True, size: int = 20) -> Transaction:
    """A mail whose every part has its number."""
    return Transaction(
        mail=b"MAIL FROM:<%d>\r\n" % number,
        rcpt=b"RCPT TO:<%d>\r\n" % number,
        body=b"mail %d %s\r\n.\r\n" % (number, b"x" * size),
        grouped=grouped,
    )


def talk_all(
    server: ModelServer,
    mails: Sequence[Transaction],
    sizes: Iterable[int] = (ALL,),
    *,
    overlaps: Iterable[bool] = (False,),
) -> Conversation:
    """Sends as many of `mails` as the session lasts for; the server's bytes come in pieces of `sizes`.

    As `overlaps` has it, a mail begins as soon as it can, or when the one before it has ended.
    """
    talk, to_come, pieces, early = Conversation(LONGEST_REPLY), list(mails), cycle(sizes), cycle(overlaps)
    while True:
        if to_come and (talk.idle or (talk.free and next(early))):
            talk.begin(to_come.pop(0))
        if data := talk.next_bytes():
            server.hear(data)
        elif server.out and talk.fault is None:
            size = next(pieces)
            piece = bytes(server.out[:size])
            del server.out[:size]
            talk.receive(piece)
        elif talk.fault is None and not talk.quiet:
            talk.break_off(ConnectionResetError() if server.closed else TimeoutError())
        elif talk.fault is not None or not to_come:
            return talk


def check(server: ModelServer, mails: Sequence[Transaction]) -> None:
    """What must hold whatever a server says: nothing told as taken that was not, nothing taken in silence."""
    for number, mail in enumerate(mails):
        taken = [took for took in server.took if took[2] == mail.body.removesuffix(b".\r\n")]
        match mail.outcome:
            case Accepted(reply):
                assert len(taken) == 1
                assert f"<{number}>" in reply.text
            case Refused(_, reply):
                assert not taken
                assert f"<{number}>" in reply.text
            case Broken(unknown=unknown):
                assert unknown or not taken
            case None:
                assert not taken
    for sender, recipients, content in server.took:
        assert recipients == (sender,)
        assert content.startswith(b"mail %s " % sender)
