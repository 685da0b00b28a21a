"""The mail transactions of one open session, without I/O: mails and bytes in, bytes and outcomes out.

Every reply answers the command that has waited longest (RFC 2920 section 3.1). What answers nothing ends the
session, since a reply taken for another mail's would be worse than a lost connection.

A mail may follow before the verdict on the one before it has come: its envelope goes with that one's message,
which saves a round trip. Its message is sent only if that verdict is a yes.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worker.smtp.reader import MAX_REPLY_BYTES, GarbledError, ReplyReader
from worker.smtp.replies import Phase, Reply

BLOCK_BYTES: Final = 64 * 1024


class Aside(StrEnum):
    """What is said beside the steps of a mail. `DOT` ends a message that nobody is to have."""

    DOT = "dot"
    RSET = "rset"
    QUIT = "quit"


class OutOfStepError(Exception):
    """The server said something that answers nothing it was told."""


class LeftError(Exception):
    """The server was taken leave of."""


class ClosedError(ConnectionError):
    """The server said that it would close the connection (421)."""


class BroughtDownError(Exception):
    """The mail before this one was refused or given up at its end: some servers would mix up the two."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took the mail: it said yes after the final dot."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no, and so has certainly not taken the mail. `phase` is what it said no to."""

    phase: Phase
    reply: Reply


@dataclass(frozen=True, slots=True)
class Broken:
    """The session ended in `phase`. `unknown` if the server may have taken the mail: all of it was sent."""

    phase: Phase
    fault: Exception
    unknown: bool


Outcome = Accepted | Refused | Broken


@dataclass(slots=True, eq=False)
class Transaction:
    """One mail to one recipient: what is to be said for it, each with its line end, and how far it has come.

    With `grouped` its commands go together, which takes a server that offers PIPELINING. `follows` says that it
    began before the verdict on another. `phase` is what is awaited next, `refusal` the first no, `committed`
    whether all of it was handed over.
    """

    mail: bytes
    rcpt: bytes
    body: bytes
    grouped: bool
    follows: bool = False
    phase: Phase = Phase.MAIL
    refusal: Refused | None = None
    committed: bool = False
    outcome: Outcome | None = None


Step = tuple[Transaction, Phase] | Aside
"""What a reply is awaited to."""


@dataclass(slots=True)
class Piece:
    """Something to be said at one go, and what the server then has to reply to. `sent` counts bytes."""

    data: bytes
    steps: tuple[Step, ...]
    grouped: bool = False
    sent: int = 0

    @property
    def left(self) -> int:
        """How many bytes are still to be sent."""
        return len(self.data) - self.sent

    def is_of(self, mail: Transaction) -> bool:
        """Whether it belongs to `mail`."""
        return any(step[0] is mail for step in self.steps if not isinstance(step, Aside))


class Conversation:
    """What is said and heard on one session. `fault` is why it is over; `turns` counts what has happened."""

    def __init__(self, longest_reply: int = MAX_REPLY_BYTES) -> None:
        self.fault: Exception | None = None
        self.turns = 0
        self._reader = ReplyReader(longest_reply)
        self._unsent: deque[Piece] = deque()
        self._awaited: deque[Step] = deque()
        self._mails: deque[Transaction] = deque()
        self._last = False

    @property
    def free(self) -> bool:
        """Whether a mail may begin: the one before it, if any, is at its end, which is one write at most."""
        return self.fault is None and not self._last and (not self._mails or self._is_at_end(self._mails[-1]))

    @property
    def idle(self) -> bool:
        """Whether a mail may begin and none is under way."""
        return self.free and not self._mails

    @property
    def is_judging(self) -> bool:
        """Whether the next reply is the one to a whole message."""
        return bool(self._mails) and self._mails[0].committed

    @property
    def is_split(self) -> bool:
        """Whether the verdict on a mail has come, and nothing yet of what is to follow close behind it."""
        return bool(self._mails) and self._mails[0].follows and self._mails[0].phase is Phase.MAIL

    @property
    def quiet(self) -> bool:
        """Whether nobody has anything to say."""
        return not self._unsent and not self._awaited

    def begin(self, mail: Transaction) -> None:
        """Starts with `mail`, once `free`; its `outcome` says how it ended."""
        self.turns += 1
        if self.fault is not None or self._last:
            mail.outcome = Broken(mail.phase, self.fault or ConnectionAbortedError(), unknown=False)
            return
        if not self.free:
            raise RuntimeError("there is more to be said for the mail before this one")
        mail.follows = bool(self._mails)
        self._mails.append(mail)
        if mail.grouped:
            steps = ((mail, Phase.MAIL), (mail, Phase.RCPT), (mail, Phase.DATA))
            self._unsent.append(Piece(mail.mail + mail.rcpt + _DATA, steps, grouped=True))
        else:
            commands = {Phase.MAIL: mail.mail, Phase.RCPT: mail.rcpt, Phase.DATA: _DATA}
            self._unsent.extend(Piece(command, ((mail, phase),)) for phase, command in commands.items())

    def _is_at_end(self, mail: Transaction) -> bool:
        return mail.phase is Phase.BODY and (not self._unsent or self._unsent[-1].left <= BLOCK_BYTES)

    def leave(self) -> None:
        """Says goodbye; `fault` is a LeftError when the server has replied."""
        self._last = True
        self._unsent.append(Piece(_QUIT, (Aside.QUIT,)))

    def next_bytes(self) -> bytes:
        """What is to be sent now, about 64 KiB at a time; nothing while a reply has to come first."""
        said: list[bytes] = []
        while self._unsent and (self._unsent[0].grouped or not self._awaited):
            piece = self._unsent[0]
            if piece.left <= BLOCK_BYTES and not self._may_complete():
                return b""
            block = piece.data[piece.sent : piece.sent + BLOCK_BYTES]
            piece.sent += len(block)
            said.append(block)
            if piece.left:
                break
            self._completed(piece)
        self.turns += bool(said)
        return b"".join(said)

    def _may_complete(self) -> bool:
        """Whether the next reply will be one to what is said now; if it began before, it would only seem so."""
        if not self._awaited and self._reader.amid:
            self.break_off(OutOfStepError("the server began to reply too early"))
        return self.fault is None

    def _completed(self, piece: Piece) -> None:
        self._unsent.popleft()
        self._awaited.extend(piece.steps)
        match piece.steps:
            case ((mail, Phase.BODY),):
                mail.committed = True

    def receive(self, data: bytes) -> None:
        """Takes what the server sent."""
        try:
            for reply in self._reader.feed(data):
                self._take(reply)
        except GarbledError as fault:
            self.break_off(fault)
        if self.quiet and self._reader.amid:
            self.break_off(OutOfStepError("the server spoke without being asked"))

    def break_off(self, fault: Exception) -> None:
        """Nothing can be said or heard any more, for this reason."""
        if self.fault is not None:
            return
        self.fault = fault
        self.turns += 1
        self._unsent.clear()
        self._awaited.clear()
        while self._mails:
            mail = self._mails[0]
            self._conclude(mail, mail.refusal or Broken(mail.phase, fault, unknown=mail.committed))

    def give_up(self, mail: Transaction, fault: Exception) -> None:
        """Nobody waits for `mail` any more: no other begins, and one beside it goes on if it can."""
        self._last = True
        self.turns += 1
        mail.outcome = Broken(mail.phase, fault, unknown=mail.committed)
        self._unsent = deque(piece for piece in self._unsent if not piece.is_of(mail))
        if all(other.outcome is not None for other in self._mails):
            self.break_off(fault)
        elif mail is self._mails[0] and not mail.committed:
            self.break_off(BroughtDownError())

    def _take(self, reply: Reply) -> None:
        self.turns += 1
        if not self._awaited:
            self._interrupted(reply)
            return
        step = self._awaited.popleft()
        if reply.code == _CLOSING:
            if not isinstance(step, Aside):
                _note(*step, reply)
            self.break_off(ClosedError())
        elif isinstance(step, Aside):
            self._beside(step, reply)
        elif step[1] is Phase.BODY:
            self._verdict(step[0], reply)
        else:
            self._envelope(*step, reply)

    def _interrupted(self, reply: Reply) -> None:
        """A reply to nothing; amid a message it says why the server does not want to hear the rest."""
        if self._mails and self._mails[0].phase is Phase.BODY:
            _note(self._mails[0], Phase.BODY, reply)
        self.break_off(_out_of_step(reply))

    def _envelope(self, mail: Transaction, phase: Phase, reply: Reply) -> None:
        says_yes = reply.code == _GO_ON if phase is Phase.DATA else reply.code // 100 == _YES
        if not says_yes and reply.code < _NO:
            self.break_off(_out_of_step(reply))
            return
        _note(mail, phase, reply)
        mail.phase = _NEXT[phase]
        if phase is Phase.DATA and says_yes:
            self._message(mail)
        elif mail.refusal is not None and (phase is Phase.DATA or not mail.grouped):
            self._reset(mail, mail.refusal)

    def _message(self, mail: Transaction) -> None:
        """The server waits for the message, even though it may have refused the envelope."""
        if mail.refusal is None:
            self._unsent.append(Piece(mail.body, ((mail, Phase.BODY),)))
        elif mail.refusal.phase is Phase.RCPT:
            # RFC 2920 section 3.1: without any recipient a lone dot ends it, and nobody gets anything.
            self._unsent.append(Piece(_DOT + _RSET, (Aside.DOT, Aside.RSET)))
            self._conclude(mail, mail.refusal)
        else:
            # Recipients without a sender: whose mail would end here is anybody's guess.
            self.break_off(OutOfStepError("the server wants the message of a sender it has refused"))

    def _verdict(self, mail: Transaction, reply: Reply) -> None:
        if reply.code // 100 == _YES:
            self._conclude(mail, Accepted(reply))
        elif reply.code >= _NO and len(self._mails) > 1:
            _note(mail, Phase.BODY, reply)
            self.break_off(BroughtDownError())
        elif reply.code >= _NO:
            # The mail is over (RFC 5321 section 4.1.1.4), but Postfix 3.7 keeps one whose end it refused.
            self._reset(mail, Refused(Phase.BODY, reply))
        else:
            self.break_off(_out_of_step(reply))

    def _reset(self, mail: Transaction, refusal: Refused) -> None:
        """The server is to forget what it refused; the next mail need not wait for its reply."""
        self._unsent.clear()
        self._unsent.append(Piece(_RSET, (Aside.RSET,)))
        self._conclude(mail, refusal)

    def _conclude(self, mail: Transaction, outcome: Outcome) -> None:
        self._mails.popleft()
        if mail.outcome is None:
            mail.outcome = outcome
        if self._last and all(other.outcome is not None for other in self._mails):
            self.break_off(ConnectionAbortedError())

    def _beside(self, aside: Aside, reply: Reply) -> None:
        if aside is Aside.QUIT:
            self.break_off(LeftError())
        elif reply.code // 100 != _YES and (aside is Aside.RSET or reply.code < _NO):
            self.break_off(_out_of_step(reply))


def _note(mail: Transaction, phase: Phase, reply: Reply) -> None:
    """The first no is the one that counts: those after it follow from it."""
    if mail.refusal is None and reply.code >= _NO:
        mail.refusal = Refused(phase, reply)


def _out_of_step(reply: Reply) -> OutOfStepError:
    return OutOfStepError(f"the server said what answers nothing it was told: {reply.line}")


_YES: Final = 2
"""First digit of a reply that says yes, whatever the others (RFC 5321 section 4.2.1)."""

_NO: Final = 400
_GO_ON: Final = 354
_CLOSING: Final = 421

_DATA: Final = b"DATA\r\n"
_DOT: Final = b".\r\n"
_RSET: Final = b"RSET\r\n"
_QUIT: Final = b"QUIT\r\n"

_NEXT: Final = {Phase.MAIL: Phase.RCPT, Phase.RCPT: Phase.DATA, Phase.DATA: Phase.BODY}
