"""The border to the SMTP library: what aiosmtplib raises becomes an error of this program here, once."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiosmtplib import SMTPException, SMTPResponse, SMTPResponseException

from worker.smtp.replies import Phase, Reply, explain, judge


@contextmanager
def speaking(phase: Phase) -> Iterator[None]:
    """Around what is said to the server in `phase`. Raises PermanentError or TransientError."""
    try:
        yield
    except SMTPResponseException as refusal:
        raise judge(phase, Reply(refusal.code, refusal.message)) from None
    except (SMTPException, OSError) as fault:
        raise explain(phase, fault) from fault


def reply_of(response: SMTPResponse) -> Reply:
    """The library's reply as ours."""
    return Reply(response.code, response.message)
