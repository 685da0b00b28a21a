"""The one axis of errors: trying again cannot help, or it may. Whoever raises one says which, and why.

Foreign exceptions are translated into these once, at the border they come from. An exception nobody named is a
bug: it is permanent, with the reason `unexpected`.
"""

from enum import StrEnum

from contracts.dead_letter import ABOUT, Reason


def kind_and_place(bug: BaseException) -> str:
    """What kind of exception arose where. Its message is left out: it may hold what the event held."""
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}" if trace else ""
    return f"{type(bug).__name__}{place}"


class Scope(StrEnum):
    """What a transient error is the trouble of, and so what has to wait."""

    SERVER = "server"
    LOGIN = "login"
    MESSAGE = "message"


class NotifyError(Exception):
    """Why a mail was not delivered.

    `reason` is a code of the contract. `detail` says what is particular to this case, such as the server's
    reply; it may be shown to operators and must hold no secret. `settings` are the names at fault.
    """

    def __init__(
        self, reason: Reason, detail: str = "", *, settings: tuple[str, ...] | None = None, hint: str = ""
    ) -> None:
        about = ABOUT[reason]
        super().__init__(f"{about.text} ({detail})" if detail else about.text)
        self.reason = reason
        self.detail = detail
        self.settings = about.settings if settings is None else settings
        self.hint = hint or about.hint


class PermanentError(NotifyError):
    """Trying again cannot help: the mail becomes a dead letter now.

    `of_one_mail` is true where it was said of one recipient or message, and need not hold for others.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        settings: tuple[str, ...] | None = None,
        hint: str = "",
        of_one_mail: bool = False,
    ) -> None:
        super().__init__(reason, detail, settings=settings, hint=hint)
        self.of_one_mail = of_one_mail


class TransientError(NotifyError):
    """Trying again may help.

    `scope` says whether the server, the login or only this message is in trouble; `retry_after` is the server's
    own hint in seconds, if it gave one. `unknown` is true when the message may have been accepted all the same:
    the connection broke after the final dot and before its reply.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        scope: Scope,
        retry_after: float | None = None,
        unknown: bool = False,
    ) -> None:
        super().__init__(reason, detail)
        self.scope = scope
        self.retry_after = retry_after
        self.unknown = unknown
