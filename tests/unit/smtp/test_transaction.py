"""Mail transactions against a server that goes wrong at every reply in every way, in pieces of every size."""

from dataclasses import dataclass
from itertools import product
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.smtp_model import (
    ALL,
    LEAVES_NO_DOUBT,
    Fault,
    ModelServer,
    check,
    mail_to,
    talk_all,
)
from worker.smtp.replies import Phase, Reply
from worker.smtp.transaction import (
    BLOCK_BYTES,
    Accepted,
    Broken,
    BroughtDownError,
    ClosedError,
    Conversation,
    LeftError,
    OutOfStepError,
    Refused,
    Transaction,
)

REPLIES_PER_MAIL: Final = 4
MAILS: Final = 3
POSITIONS: Final = range(MAILS * REPLIES_PER_MAIL + 1)


@dataclass(frozen=True)
class Way:
    """Whether an envelope goes as a group, and a mail begins before the one before it has ended."""

    grouped: bool
    overlaps: tuple[bool, ...]

    def talk(self, server: ModelServer, count: int, *sizes: int, size: int = 20) -> list[Transaction]:
        """Sends so many mails, and checks what must hold."""
        mails = [mail_to(number, grouped=self.grouped, size=size) for number in range(count)]
        talk = talk_all(server, mails, sizes or (ALL,), overlaps=self.overlaps)
        check(server, mails)
        assert talk.free or talk.fault
        return mails


WAYS: Final = [
    pytest.param(Way(grouped=False, overlaps=(False,)), id="one command at a time"),
    pytest.param(Way(grouped=True, overlaps=(False,)), id="in groups"),
    pytest.param(Way(grouped=True, overlaps=(True,)), id="with the message before"),
    pytest.param(Way(grouped=True, overlaps=(False, True)), id="behind the message before"),
    pytest.param(Way(grouped=False, overlaps=(True,)), id="one at a time, begun early"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [20, BLOCK_BYTES - 13, BLOCK_BYTES - 12, BLOCK_BYTES - 11, 3 * BLOCK_BYTES])
def test_all_is_well_where_nothing_is_wrong(size: int, way: Way) -> None:
    """One mail after the other, byte for byte."""
    server = ModelServer()
    mails = way.talk(server, 5, size=size)
    assert all(isinstance(mail.outcome, Accepted) for mail in mails)
    assert [mail.follows for mail in mails] == [False, *([any(way.overlaps)] * 4)]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lenient", [True, False])
@pytest.mark.parametrize("fault", Fault)
def test_whatever_is_wrong_with_whichever_reply(fault: Fault, size: int, way: Way, *, lenient: bool) -> None:
    """No mail is told as taken that was not, none taken unless told or unknown, no reply is another mail's."""
    for position in POSITIONS:
        mails = way.talk(ModelServer({position: fault}, lenient=lenient), MAILS, size)
        if fault in LEAVES_NO_DOUBT:
            assert not any(isinstance(mail.outcome, Broken) and mail.outcome.unknown for mail in mails)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", Fault)
def test_replies_cut_in_two_anywhere(fault: Fault, way: Way) -> None:
    """The first piece of what the server says ends at every byte."""
    for position, first in product(range(2 * REPLIES_PER_MAIL), range(1, 60)):
        way.talk(ModelServer({position: fault}), 2, first, ALL)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", Fault)
def test_two_faults_together(fault: Fault, way: Way) -> None:
    """Of one mail, and of two that overlap."""
    positions = range(2 * REPLIES_PER_MAIL), range(1, REPLIES_PER_MAIL + 1)
    for other, first, distance in product(Fault, *positions):
        way.talk(ModelServer({first: fault, first + distance: other}, lenient=True), MAILS)


@given(
    faults=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(Fault)), max_size=4),
    sizes=st.lists(st.integers(1, 80), min_size=1, max_size=12),
    grouped=st.lists(st.booleans(), min_size=6, max_size=6),
    overlaps=st.lists(st.booleans(), min_size=1, max_size=6).filter(any),
    lenient=st.booleans(),
)
@settings(max_examples=300)
def test_several_faults_in_any_pieces(
    faults: list[tuple[int, Fault]],
    sizes: list[int],
    grouped: list[bool],
    overlaps: list[bool],
    *,
    lenient: bool,
) -> None:
    """The same holds for any of them together."""
    server = ModelServer(dict(faults), lenient=lenient)
    mails = [mail_to(number, grouped=way) for number, way in enumerate(grouped)]
    talk_all(server, mails, sizes, overlaps=overlaps)
    check(server, mails)


def _said(talk: Conversation) -> bytes:
    return b"".join(iter(talk.next_bytes, b""))


def _begun(*, grouped: bool = True, size: int = 20) -> tuple[Conversation, Transaction]:
    talk, mail = Conversation(), mail_to(0, grouped=grouped, size=size)
    talk.begin(mail)
    return talk, mail


ENVELOPE: Final = b"MAIL FROM:<0>\r\nRCPT TO:<0>\r\nDATA\r\n"
YES: Final = b"250 Ok\r\n"
GO_ON: Final = b"354 Go on\r\n"


def test_an_envelope_is_one_write_and_the_message_another() -> None:
    """RFC 2920 section 3.1: DATA is the last of its group; nothing follows before its reply."""
    talk, mail = _begun()
    assert _said(talk) == ENVELOPE
    talk.receive(YES + YES)
    assert _said(talk) == b""
    talk.receive(GO_ON)
    assert (_said(talk), mail.committed, mail.outcome) == (mail.body, True, None)
    talk.receive(b"250 Queued\r\n")
    assert mail.outcome == Accepted(Reply(250, "Queued"))
    assert talk.free


def test_without_pipelining_every_command_waits_for_its_turn() -> None:
    """RFC 5321 section 4.1: one command, one reply."""
    talk, mail = _begun(grouped=False)
    said = []
    for reply in (YES, YES, GO_ON, YES):
        said.append(_said(talk))
        talk.receive(reply)
    assert said == [b"MAIL FROM:<0>\r\n", b"RCPT TO:<0>\r\n", b"DATA\r\n", mail.body]
    assert isinstance(mail.outcome, Accepted)


NO: Final = b"550 No\r\n"
LATER: Final = b"451 Later\r\n"
BYE: Final = b"421 Bye\r\n"
REFUSALS: Final = [
    pytest.param(NO + NO + NO, Phase.MAIL, 550, b"RSET\r\n", id="MAIL, and what follows from it"),
    pytest.param(LATER + NO + NO, Phase.MAIL, 451, b"RSET\r\n", id="the first no is the reason"),
    pytest.param(YES + NO + NO, Phase.RCPT, 550, b"RSET\r\n", id="RCPT"),
    pytest.param(YES + YES + LATER, Phase.DATA, 451, b"RSET\r\n", id="DATA"),
    pytest.param(YES + NO + GO_ON, Phase.RCPT, 550, b".\r\nRSET\r\n", id="RCPT, but the message is awaited"),
    pytest.param(NO + NO + GO_ON, Phase.MAIL, 550, None, id="MAIL, but the message is awaited"),
    pytest.param(NO + YES + GO_ON, Phase.MAIL, 550, None, id="MAIL, but there is a recipient"),
    pytest.param(BYE, Phase.MAIL, 421, None, id="421 at MAIL"),
    pytest.param(YES + BYE, Phase.RCPT, 421, None, id="421 at RCPT"),
    pytest.param(YES + YES + BYE, Phase.DATA, 421, None, id="421 at DATA"),
    pytest.param(YES + NO + BYE, Phase.RCPT, 550, None, id="421 after a refused RCPT"),
]


@pytest.mark.parametrize(("replies", "phase", "code", "then"), REFUSALS)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_refused_envelope(
    replies: bytes, phase: Phase, code: int, then: bytes | None, *, at_once: bool
) -> None:
    """All replies are heard, the first no counts; what is said then ends the mail, or nothing is."""
    talk, mail = _begun()
    _said(talk)
    for piece in [replies] if at_once else replies.splitlines(keepends=True):
        talk.receive(piece)
    assert isinstance(mail.outcome, Refused)
    assert (mail.outcome.phase, mail.outcome.reply.code) == (phase, code)
    assert _said(talk) == (then or b"")
    assert talk.free is (then is not None)
    assert not mail.committed


@pytest.mark.parametrize(("refused", "said"), [(Phase.MAIL, 1), (Phase.RCPT, 2), (Phase.DATA, 3)])
def test_without_pipelining_nothing_is_said_after_a_refusal(refused: Phase, said: int) -> None:
    """The rest of the envelope stays unsaid; the next mail waits for the reply to RSET."""
    talk, mail = _begun(grouped=False)
    for _ in range(said - 1):
        _said(talk)
        talk.receive(YES)
    _said(talk)
    talk.receive(NO)
    assert mail.outcome == Refused(refused, Reply(550, "No"))
    talk.begin(mail_to(1, grouped=False))
    assert _said(talk) == b"RSET\r\n"
    talk.receive(YES)
    assert _said(talk) == b"MAIL FROM:<1>\r\n"


@pytest.mark.parametrize("reply", [YES, NO], ids=["250", "550"])
def test_with_pipelining_the_next_envelope_does_not_wait_for_a_reset(reply: bytes) -> None:
    """RFC 2920 section 3.1: RSET may stand anywhere in a group. The reply to nobody's message is no news."""
    talk, _ = _begun()
    _said(talk)
    talk.receive(YES + NO + GO_ON)
    next_mail = mail_to(1)
    talk.begin(next_mail)
    assert _said(talk) == b".\r\nRSET\r\nMAIL FROM:<1>\r\nRCPT TO:<1>\r\nDATA\r\n"
    talk.receive(reply + YES + YES + YES + GO_ON)
    assert _said(talk) == next_mail.body


@pytest.mark.parametrize("replies", [YES + YES + NO, NO], ids=["DATA", "MAIL"])
def test_a_reset_that_is_refused_ends_the_session(replies: bytes) -> None:
    """What the server still remembers nobody knows."""
    talk, _ = _begun(grouped=replies != NO)
    _said(talk)
    talk.receive(replies)
    _said(talk)
    talk.receive(NO)
    assert not talk.free


@pytest.mark.parametrize("code", [450, 452, 550, 552, 554])
def test_a_refused_message_is_followed_by_a_reset(code: int) -> None:
    """RFC 5321 section 4.1.1.4 ends the mail, but not every server does."""
    talk, mail = _begun()
    _said(talk)
    talk.receive(YES + YES + GO_ON)
    _said(talk)
    talk.receive(b"%d No\r\n" % code)
    assert mail.outcome == Refused(Phase.BODY, Reply(code, "No"))
    assert _said(talk) == b"RSET\r\n"


NONSENSE: Final = [
    pytest.param(GO_ON, Phase.MAIL, id="354 to MAIL"),
    pytest.param(YES + GO_ON, Phase.RCPT, id="354 to RCPT"),
    pytest.param(YES + YES + YES, Phase.DATA, id="250 to DATA"),
    pytest.param(b"334 Password\r\n", Phase.MAIL, id="334 to MAIL"),
    pytest.param(YES + b"<html>\r\n", Phase.RCPT, id="no SMTP"),
]


@pytest.mark.parametrize(("replies", "phase"), NONSENSE)
def test_what_is_no_answer_ends_the_session(replies: bytes, phase: Phase) -> None:
    """And leaves no doubt, since no message was sent."""
    talk, mail = _begun()
    _said(talk)
    talk.receive(replies)
    assert isinstance(mail.outcome, Broken)
    assert (mail.outcome.phase, mail.outcome.unknown) == (phase, False)
    assert not talk.free
    assert _said(talk) == b""


@pytest.mark.parametrize("reply", [GO_ON, b"334 Password\r\n", b"what?\r\n"])
def test_what_is_no_answer_to_a_whole_message_leaves_it_unknown(reply: bytes) -> None:
    """All of it was sent, and nobody said what became of it."""
    talk, mail = _begun()
    _said(talk)
    talk.receive(YES + YES + GO_ON)
    _said(talk)
    talk.receive(reply)
    assert isinstance(mail.outcome, Broken)
    assert mail.outcome.unknown


EARLY: Final = [
    pytest.param(b"552 Too big\r\n", Refused(Phase.BODY, Reply(552, "Too big")), id="a refusal"),
    pytest.param(BYE, Refused(Phase.BODY, Reply(421, "Bye")), id="421"),
    pytest.param(YES, None, id="250, which cannot be meant"),
    pytest.param(GO_ON, None, id="354 again"),
    pytest.param(b"2", None, id="the beginning of a reply"),
    pytest.param(b"250-Ok\r\n", None, id="the first line of a reply"),
]


@pytest.mark.parametrize(("reply", "outcome"), EARLY)
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_a_reply_before_the_end_of_the_message(reply: bytes, outcome: Refused | None, blocks: int) -> None:
    """The message stays incomplete, so it was not taken; the final dot is never sent."""
    talk, mail = _begun(size=4 * BLOCK_BYTES)
    _said(talk)
    if blocks == 0:
        talk.receive(YES + YES + GO_ON + reply)
    else:
        talk.receive(YES + YES + GO_ON)
        assert all(len(talk.next_bytes()) == BLOCK_BYTES for _ in range(blocks))
        talk.receive(reply)
    assert not _said(talk).endswith(b".\r\n")
    assert isinstance(mail.outcome, Broken | Refused)
    assert mail.outcome == outcome or (isinstance(mail.outcome, Broken) and not mail.outcome.unknown)
    assert not talk.free


@pytest.mark.parametrize("said", [b"421 Idle\r\n", b"250 Hello\r\n", b"2", b"\r\n"])
def test_a_server_that_speaks_without_being_asked_is_out_of_step(said: bytes) -> None:
    """Whatever it is, it would be taken for the reply to something else."""
    talk = Conversation()
    assert talk.free
    talk.receive(said)
    assert not talk.free
    mail = mail_to(0)
    talk.begin(mail)
    assert _said(talk) == b""
    assert isinstance(mail.outcome, Broken)
    assert (mail.outcome.phase, mail.outcome.unknown) == (Phase.MAIL, False)


@pytest.mark.parametrize("replies", [b"", YES, YES + YES, YES + YES + GO_ON])
@pytest.mark.parametrize("fault", [ConnectionResetError(), TimeoutError()])
def test_a_session_that_breaks_leaves_a_mail_unknown_only_after_its_end(
    replies: bytes, fault: Exception
) -> None:
    """From the last byte handed over until the reply to it."""
    talk, mail = _begun()
    _said(talk)
    talk.receive(replies)
    _said(talk)
    talk.break_off(fault)
    phase = [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY][replies.count(b"\r\n")]
    assert mail.outcome == Broken(phase, fault, unknown=phase is Phase.BODY)
    talk.break_off(OutOfStepError())
    assert talk.fault is fault


def test_a_refusal_stands_though_the_session_breaks_before_all_is_heard() -> None:
    """It was said."""
    talk, mail = _begun()
    _said(talk)
    talk.receive(YES + NO)
    talk.break_off(ConnectionResetError())
    assert mail.outcome == Refused(Phase.RCPT, Reply(550, "No"))


@pytest.mark.parametrize("grouped", [True, False])
def test_leaving_ends_the_session(*, grouped: bool) -> None:
    """QUIT is the last of its group (RFC 2920 section 3.1), and waits for what has been asked before."""
    talk, _ = _begun(grouped=grouped)
    _said(talk)
    talk.receive(NO + NO + NO if grouped else NO)
    talk.leave()
    assert _said(talk) == b"RSET\r\n"
    talk.receive(YES)
    assert _said(talk) == b"QUIT\r\n"
    talk.receive(b"221 Bye\r\n")
    assert isinstance(talk.fault, LeftError)


def test_no_mail_begins_before_the_end_of_another() -> None:
    """A mistake of ours must not mix two mails."""
    talk, _ = _begun()
    with pytest.raises(RuntimeError):
        talk.begin(mail_to(1))


NEXT_ENVELOPE: Final = b"MAIL FROM:<1>\r\nRCPT TO:<1>\r\nDATA\r\n"


def _at_its_end(size: int = 20) -> tuple[Conversation, Transaction]:
    talk, mail = _begun(size=size)
    _said(talk)
    talk.receive(YES + YES + GO_ON)
    return talk, mail


def _overlapping() -> tuple[Conversation, Transaction, Transaction]:
    talk, mail = _at_its_end()
    next_mail = mail_to(1)
    assert _said(talk) == mail.body
    talk.begin(next_mail)
    assert _said(talk) == NEXT_ENVELOPE
    return talk, mail, next_mail


def test_the_next_envelope_goes_with_the_message() -> None:
    """In one write, so that the server sees both before it replies to either."""
    talk, mail = _at_its_end()
    talk.begin(mail_to(1))
    assert talk.next_bytes() == mail.body + NEXT_ENVELOPE
    assert mail.committed
    assert talk.next_bytes() == b""


def test_the_next_mail_waits_for_the_last_block_of_a_large_one() -> None:
    """There is nothing to be gained before, and much could still go wrong."""
    talk, mail = _at_its_end(3 * BLOCK_BYTES)
    for _ in range(3):
        assert not talk.free
        assert len(talk.next_bytes()) == BLOCK_BYTES
    talk.begin(mail_to(1))
    assert talk.next_bytes() == mail.body[3 * BLOCK_BYTES :] + NEXT_ENVELOPE


@pytest.mark.parametrize("given_up", [0, 1])
def test_of_two_mails_one_is_given_up_before_anything_more_is_said(given_up: int) -> None:
    """A message that nobody waits for is not sent, and no envelope behind one; the other does what it can."""
    talk, mail = _at_its_end()
    mails = mail, mail_to(1)
    talk.begin(mails[1])
    talk.give_up(mails[given_up], ConnectionAbortedError())
    assert _said(talk) == (mail.body if given_up else b"")
    outcome = mails[1].outcome
    assert isinstance(outcome, Broken)
    assert (outcome.phase, outcome.unknown) == (Phase.MAIL, False)
    assert isinstance(outcome.fault, ConnectionAbortedError if given_up else BroughtDownError)
    assert talk.free is False
    talk.receive(YES)
    assert isinstance(mail.outcome, Accepted if given_up else Broken)
    assert talk.fault is not None


def test_the_next_envelope_does_not_wait_for_the_verdict() -> None:
    """RFC 2920 section 3.1: a message may be the first of a group. One round trip a mail."""
    talk, mail, next_mail = _overlapping()
    assert (mail.outcome, next_mail.follows, talk.free) == (None, True, False)
    talk.receive(YES + YES + YES + GO_ON)
    assert isinstance(mail.outcome, Accepted)
    assert _said(talk) == next_mail.body
    assert talk.free
    talk.receive(YES)
    assert isinstance(next_mail.outcome, Accepted)
    assert talk.idle


@pytest.mark.parametrize("code", [451, 550])
def test_a_message_refused_takes_the_next_mail_with_it(code: int) -> None:
    """Postfix 3.7 would add the next recipient to the mail it refused: nothing more is said."""
    talk, mail, next_mail = _overlapping()
    talk.receive(b"%d No\r\n" % code + NO + YES + GO_ON)
    assert mail.outcome == Refused(Phase.BODY, Reply(code, "No"))
    assert isinstance(next_mail.outcome, Broken)
    assert isinstance(next_mail.outcome.fault, BroughtDownError)
    assert (next_mail.outcome.phase, next_mail.outcome.unknown) == (Phase.MAIL, False)
    assert _said(talk) == b""


@pytest.mark.parametrize(
    ("replies", "phase", "then"),
    [
        pytest.param(NO + NO + NO, Phase.MAIL, b"RSET\r\n", id="MAIL"),
        pytest.param(YES + NO + NO, Phase.RCPT, b"RSET\r\n", id="RCPT"),
        pytest.param(YES + YES + NO, Phase.DATA, b"RSET\r\n", id="DATA"),
        pytest.param(YES + NO + GO_ON, Phase.RCPT, b".\r\nRSET\r\n", id="RCPT, but the message is awaited"),
        pytest.param(NO + YES + GO_ON, Phase.MAIL, b"", id="MAIL, but the message is awaited"),
    ],
)
def test_a_mail_that_follows_an_accepted_one_may_be_refused(replies: bytes, phase: Phase, then: bytes) -> None:
    """As any other."""
    talk, mail, next_mail = _overlapping()
    talk.receive(YES + replies)
    assert isinstance(mail.outcome, Accepted)
    assert next_mail.outcome == Refused(phase, Reply(550, "No"))
    assert _said(talk) == then


CUTS: Final = [
    pytest.param(b"", Phase.BODY, Phase.MAIL, id="before the verdict"),
    pytest.param(YES, None, Phase.MAIL, id="after the verdict"),
    pytest.param(YES + YES, None, Phase.RCPT, id="after MAIL"),
    pytest.param(YES + YES + YES, None, Phase.DATA, id="after RCPT"),
    pytest.param(YES + YES + YES + GO_ON, None, Phase.BODY, id="amid the next message"),
]


@pytest.mark.parametrize(("replies", "first", "second"), CUTS)
def test_a_cut_leaves_only_the_mail_unknown_that_awaits_its_verdict(
    replies: bytes, first: Phase | None, second: Phase
) -> None:
    """Of a mail that follows no message was sent."""
    talk, mail, next_mail = _overlapping()
    talk.receive(replies)
    talk.break_off(ConnectionResetError())
    if first is None:
        assert isinstance(mail.outcome, Accepted)
    else:
        assert isinstance(mail.outcome, Broken)
        assert (mail.outcome.phase, mail.outcome.unknown) == (first, True)
    assert isinstance(next_mail.outcome, Broken)
    assert (next_mail.outcome.phase, next_mail.outcome.unknown) == (second, False)


@pytest.mark.parametrize(("replies", "refused"), [(BYE, 0), (YES + BYE, 1), (YES + YES + BYE, 1)])
def test_421_is_heard_by_the_mail_it_is_said_to(replies: bytes, refused: int) -> None:
    """It ends the session for both."""
    talk, *mails = _overlapping()
    talk.receive(replies)
    assert isinstance(mails[refused].outcome, Refused)
    assert isinstance(mails[1 - refused].outcome, Broken if refused == 0 else Accepted)
    assert isinstance(talk.fault, ClosedError)


def test_a_mail_that_follows_can_be_given_up_without_the_other() -> None:
    """Its message is not sent, though the server waits for it by then; the session ends with the other mail."""
    talk, mail, next_mail = _overlapping()
    talk.give_up(next_mail, TimeoutError())
    assert isinstance(next_mail.outcome, Broken)
    assert (next_mail.outcome.phase, next_mail.outcome.unknown) == (Phase.MAIL, False)
    assert (talk.free, talk.fault, mail.outcome) == (False, None, None)
    talk.receive(YES + YES + YES + GO_ON)
    assert isinstance(mail.outcome, Accepted)
    assert _said(talk) == b""
    assert talk.fault is not None


def test_a_mail_that_follows_outlives_the_other() -> None:
    """The verdict on a mail that nobody waits for is heard all the same; nothing begins after these two."""
    talk, mail, next_mail = _overlapping()
    talk.give_up(mail, ConnectionAbortedError())
    assert isinstance(mail.outcome, Broken)
    assert mail.outcome.unknown
    talk.receive(YES + YES + YES + GO_ON)
    assert _said(talk) == next_mail.body
    assert not talk.free
    talk.receive(YES)
    assert isinstance(next_mail.outcome, Accepted)
    assert talk.fault is not None


def test_nothing_begins_on_a_session_that_is_to_end() -> None:
    """Whoever comes too late is told at once, and goes elsewhere."""
    talk, mail, next_mail = _overlapping()
    talk.give_up(next_mail, TimeoutError())
    third = mail_to(2)
    talk.begin(third)
    assert isinstance(third.outcome, Broken)
    assert (third.outcome.phase, third.outcome.unknown) == (Phase.MAIL, False)
    assert mail.outcome is None


def test_nobody_waits_for_a_session_that_all_have_given_up() -> None:
    """It ends at once."""
    talk, mail, next_mail = _overlapping()
    talk.give_up(mail, ConnectionAbortedError())
    assert talk.fault is None
    talk.give_up(next_mail, ConnectionAbortedError())
    assert talk.fault is not None
