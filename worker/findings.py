"""What a check found, one finding a step: the guide's sentence, what was seen, and the settings to change."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.dead_letter import ABOUT
from worker.errors import NotifyError


class Mark(StrEnum):
    """How a step went. A warning, and what is unclear, do not make a check fail."""

    OK = "OK"
    WARNING = "WARNING"
    UNCLEAR = "UNCLEAR"
    FAILED = "FAILED"
    NOT_REACHED = "not reached"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `text` is the guide's sentence where it has one, `detail` what was seen, `hint` what to do.

    `code` is the one that a dead letter of the same cause bears; `settings` are the names at fault.
    """

    step: str
    mark: Mark
    text: str = ""
    code: str = ""
    settings: tuple[str, ...] = ()
    detail: str = ""
    hint: str = ""

    @property
    def ok(self) -> bool | None:
        """None for a step that was not reached."""
        return None if self.mark is Mark.NOT_REACHED else self.mark is not Mark.FAILED


def passed(step: str, text: str) -> Finding:
    """The step went well; `text` says what was seen."""
    return Finding(step, Mark.OK, text)


def failed(step: str, error: NotifyError, redact: Callable[[str], str]) -> Finding:
    """The step went wrong. The detail may repeat what the server said, so it is redacted.

    The hint was written for dead letters, of which a check has none.
    """
    return Finding(
        step=step,
        mark=Mark.FAILED,
        text=ABOUT[error.reason].text,
        code=str(error.reason),
        settings=error.settings,
        detail=redact(error.detail),
        hint=error.hint.replace("send these again", "check again"),
    )


def warning(step: str, sentence: str, mark: Mark = Mark.WARNING) -> Finding:
    """Something to know beside how the step went."""
    return Finding(step, mark, sentence, mark.lower(), named(sentence))


def not_reached(steps: Iterable[str]) -> Iterator[Finding]:
    """Steps that a failure before them left undone."""
    return (Finding(step, Mark.NOT_REACHED, code="not-reached") for step in steps)


def named(sentence: str) -> tuple[str, ...]:
    """The names of settings in a sentence, each once."""
    return tuple(dict.fromkeys(_SETTING.findall(sentence)))


def exit_code(findings: Iterable[Finding]) -> int:
    """0 when no step failed, 1 when one did, 2 when it was the reading of the settings."""
    wrong = {finding.step for finding in findings if finding.mark is Mark.FAILED}
    return 2 if "settings" in wrong else int(bool(wrong))


_SETTING: Final = re.compile(r"\b(?:EmailSMTPHost|EmailSmtp[A-Z]\w+|NOTIFY_[A-Z_]+)\b")
