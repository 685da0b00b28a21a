"""What a step's finding says, and what the exit code makes of all."""

import pytest

from contracts.dead_letter import ABOUT, Reason
from worker.errors import PermanentError
from worker.findings import Finding, Mark, exit_code, failed, named, not_reached, passed, warning
from worker.redact import Redactor

OK = passed("dns", "192.0.2.1")
WRONG = failed(
    "auth", PermanentError(Reason.SMTP_AUTHENTICATION_REFUSED, "535 No, hunter2"), Redactor(["hunter2"])
)


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([OK], 0),
        ([OK, warning("plan", "Beware.")], 0),
        ([OK, warning("spf", "Who knows?", Mark.UNCLEAR)], 0),
        ([OK, WRONG, *not_reached(["send"])], 1),
        ([Finding("settings", Mark.FAILED), *not_reached(["plan"])], 2),
    ],
)
def test_the_exit_code_is_that_of_the_worst_step(findings: list[Finding], code: int) -> None:
    """0 all passed, 1 one failed, 2 the settings could not be read; warnings do not count."""
    assert exit_code(findings) == code


def test_a_failed_step_says_what_a_dead_letter_would() -> None:
    """The documented sentence, its code, the settings and the hint, and no secret that the server repeated."""
    about = ABOUT[Reason.SMTP_AUTHENTICATION_REFUSED]
    assert (WRONG.text, WRONG.code, WRONG.settings) == (
        about.text,
        "smtp-authentication-refused",
        about.settings,
    )
    assert WRONG.detail == "535 No, <secret>"
    assert WRONG.hint == about.hint.replace("send these again", "check again")


@pytest.mark.parametrize("reason", Reason)
def test_no_finding_speaks_of_sending_events_again(reason: Reason) -> None:
    """A check has no dead letters."""
    finding = failed("plan", PermanentError(reason), Redactor())
    assert "send these again" not in finding.hint
    assert finding.hint.endswith(".")


@pytest.mark.parametrize(
    ("finding", "ok"), [(OK, True), (warning("plan", "x"), True), (WRONG, False), (*not_reached(["a"]), None)]
)
def test_ok_is_unknown_for_a_step_that_was_not_reached(finding: Finding, *, ok: bool | None) -> None:
    """For machines: true, false or null."""
    assert finding.ok is ok


def test_the_settings_that_a_sentence_names_are_found() -> None:
    """Each once, in their order; the guide's host has capitals of its own."""
    sentence = "Set EmailSMTPHost, EmailSmtpPort or NOTIFY_SMTP_CA_FILE; EmailSmtpPort is 25 (no EmailSmt)."
    assert named(sentence) == ("EmailSMTPHost", "EmailSmtpPort", "NOTIFY_SMTP_CA_FILE")
