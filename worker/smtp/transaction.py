"""The mail transactions of one open session, without I/O: mails and bytes in, bytes and outcomes out.

Every reply answers the command that has waited longest (RFC 2920 section 3.1). What answers nothing ends the
session, since a reply taken for another mail's would be worse than a lost connection.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from worker.smtp.reader import GarbledError, ReplyReader
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

    With `grouped` its commands go together, which takes a server that offers PIPELINING. `phase` is what is
    awaited next, `refusal` the first no, and `committed` says whether all of it was handed over.
    """

    mail: bytes
    rcpt: bytes
    body: bytes
    grouped: bool
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


class Conversation:
    """What is said and heard on one session. `fault` is why it is over; `turns` counts what has happened."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.turns = 0
        self._reader = ReplyReader()
        self._unsent: deque[Piece] = deque()
        self._awaited: deque[Step] = deque()
        self._mail: Transaction | None = None

    @property
    def free(self) -> bool:
        """Whether a mail may begin."""
        return self.fault is None and self._mail is None

    @property
    def is_judging(self) -> bool:
        """Whether the next reply is the one to a whole message."""
        return self._mail is not None and self._mail.committed

    @property
    def quiet(self) -> bool:
        """Whether nobody has anything to say."""
        return not self._unsent and not self._awaited

    def begin(self, mail: Transaction) -> None:
        """Starts with `mail`, once `free`; its `outcome` says how it ended."""
        if self.fault is not None:
            mail.outcome = Broken(mail.phase, self.fault, unknown=False)
            return
        if self._mail is not None:
            raise RuntimeError("the mail before this one has not ended")
        self._mail = mail
        if mail.grouped:
            steps = ((mail, Phase.MAIL), (mail, Phase.RCPT), (mail, Phase.DATA))
            self._unsent.append(Piece(mail.mail + mail.rcpt + _DATA, steps, grouped=True))
        else:
            commands = {Phase.MAIL: mail.mail, Phase.RCPT: mail.rcpt, Phase.DATA: _DATA}
            self._unsent.extend(Piece(command, ((mail, phase),)) for phase, command in commands.items())

    def leave(self) -> None:
        """Says goodbye; `fault` is a LeftError when the server has replied."""
        self._unsent.append(Piece(_QUIT, (Aside.QUIT,)))

    def next_bytes(self) -> bytes:
        """What is to be sent now, at most 64 KiB at a time; nothing while a reply has to come first."""
        if not self._unsent or (self._awaited and not self._unsent[0].grouped):
            return b""
        piece = self._unsent[0]
        block = piece.data[piece.sent : piece.sent + BLOCK_BYTES]
        piece.sent += len(block)
        self.turns += 1
        return block if piece.sent < len(piece.data) else self._completed(piece, block)

    def _completed(self, piece: Piece, block: bytes) -> bytes:
        if not self._awaited and self._reader.amid:
            # What has begun before this was said would be taken for the reply to it.
            self.break_off(OutOfStepError("the server began to reply too early"))
            return b""
        self._unsent.popleft()
        self._awaited.extend(piece.steps)
        if self._mail is not None and self._mail.phase is Phase.BODY:
            self._mail.committed = True
        return block

    def receive(self, data: bytes) -> None:
        """Takes what the server sent."""
        try:
            for reply in self._reader.feed(data):
                self._take(reply)
                if self.fault is not None:
                    return
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
        if (mail := self._mail) is not None:
            self._conclude(mail, mail.refusal or Broken(mail.phase, fault, unknown=mail.committed))

    def _take(self, reply: Reply) -> None:
        self.turns += 1
        if not self._awaited:
            self._interrupted(reply)
            return
        step = self._awaited.popleft()
        if reply.code == _CLOSING:
            if not isinstance(step, Aside):
                _note(*step, reply)
            self.break_off(ConnectionResetError())
        elif isinstance(step, Aside):
            self._beside(step, reply)
        elif step[1] is Phase.BODY:
            self._verdict(step[0], reply)
        else:
            self._envelope(*step, reply)

    def _interrupted(self, reply: Reply) -> None:
        """A reply to nothing; amid a message it says why the server does not want to hear the rest."""
        if (mail := self._mail) is not None and mail.phase is Phase.BODY:
            _note(mail, Phase.BODY, reply)
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
        mail.outcome = outcome
        self._mail = None

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
