"""The demo's judgement: exactly what had to come, nothing missing and nothing besides."""

from collections.abc import Mapping

import pytest

from contracts.dead_letter import Reason
from deploy.local.broker_view import Look
from deploy.local.expected import DeadLetter, Mail, dead_letter
from deploy.local.facts import Facts, dead_letter_of, differences
from deploy.local.inbox import StoredMail
from deploy.local.scenario import Published

HELEN, DYLAN = Mail("h.okafor@broddu.example", "en-GB"), Mail("d.pritchard@broddu.example", "cy")
EXPIRED = dead_letter(Reason.EXPIRED)
PUBLISHED = [
    Published("notify", "workflow.x", "1", b"{}", mails=(HELEN, DYLAN)),
    Published("notify", "password-reset.requested", "2", b"{}", dead=(EXPIRED,)),
]


def stored(mail: Mail) -> StoredMail:
    """A mail as the inbox has it."""
    return StoredMail(number=1, sender="", to=(mail.to,), subject="x", language=mail.language, file="x.eml")


def dead(letter: DeadLetter) -> Look:
    """A dead letter as the broker has it."""
    headers = {"notify-class": letter.dead_class, "notify-code": letter.code, "notify-text": letter.text}
    return Look("notify.dead.exhausted", headers, b"{}")


def facts(
    mails: tuple[Mail, ...] = (DYLAN, HELEN),
    letters: tuple[DeadLetter, ...] = (EXPIRED,),
    waiting: Mapping[str, int] | None = None,
    exit_codes: Mapping[str, int] | None = None,
) -> Facts:
    """What happened; by default all that had to."""
    return Facts([stored(m) for m in mails], [dead(d) for d in letters], waiting or {}, exit_codes or {})


def test_all_that_had_to_come_makes_no_difference() -> None:
    """In whatever order it came."""
    assert differences(PUBLISHED, facts(waiting={"notify.work.urgent": 0}, exit_codes={"notify": 0})) == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        pytest.param(facts(mails=(HELEN,)), f"missing: a mail to {DYLAN.to} in cy", id="a mail is missing"),
        pytest.param(
            facts(mails=(HELEN, DYLAN, DYLAN)),
            f"not expected: a mail to {DYLAN.to} in cy",
            id="a mail came twice",
        ),
        pytest.param(
            facts(mails=(HELEN, DYLAN, Mail("x@y.example", ""))),
            "not expected: a mail to x@y.example in no language",
            id="a mail to somebody else",
        ),
        pytest.param(
            facts(letters=()),
            "missing: a dead letter expired/expired (The event expired before its mail could be sent)",
            id="a dead letter is missing",
        ),
        pytest.param(
            facts(letters=(EXPIRED, DeadLetter("poison", "unexpected", "A bug"))),
            "not expected: a dead letter poison/unexpected (A bug)",
            id="a dead letter too many",
        ),
        pytest.param(facts(waiting={"notify.retry.10s": 2}), "still in notify.retry.10s: 2", id="unfinished"),
        pytest.param(facts(exit_codes={"notify": -9}), "worker notify: exit code -9", id="a worker was killed"),
    ],
)
def test_each_difference_is_a_line(found: Facts, line: str) -> None:
    """It says what, and where it is to be looked for."""
    assert differences(PUBLISHED, found) == [line]


def test_the_wrong_language_is_one_missing_and_one_too_many() -> None:
    """A mail in the wrong language is not the mail that had to come."""
    assert differences(PUBLISHED, facts(mails=(HELEN, Mail(DYLAN.to, "en-GB")))) == [
        f"missing: a mail to {DYLAN.to} in cy",
        f"not expected: a mail to {DYLAN.to} in en-GB",
    ]


def test_a_dead_letter_without_our_headers_is_called_after_its_queue() -> None:
    """The broker makes such ones itself, and an unroutable event has none."""
    assert dead_letter_of(Look("notify.dead.unroutable", {}, b"")) == DeadLetter(
        "notify.dead.unroutable", "", ""
    )
