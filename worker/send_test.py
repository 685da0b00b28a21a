"""`send-test`: one real mail as the settings say, and what the server said to it."""

import html
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import uuid4

from contracts.dead_letter import Reason
from worker.address import Mailbox
from worker.check import in_words, plan_of, planned
from worker.errors import NotifyError, PermanentError
from worker.findings import Finding, Mark, failed, not_reached, passed
from worker.mime import Letter, compose, needs_smtputf8
from worker.redact import Redactor
from worker.revision import default_sender, secrets
from worker.settings import Settings
from worker.smtp.oauth2 import TokenSource
from worker.smtp.opening import open_session, trust
from worker.smtp.plan import ConnectionPlan, OAuth2
from worker.smtp.session import Session

STEPS: Final = ("connect", "send")

SUBJECT: Final = "Test mail from notify-worker"
TEXT: Final = """\
This is a test mail. It needs no answer.

The command notify-worker send-test sent it from {machine}, to find out whether the SMTP settings work.

It went through {way}.
"""


async def send_test(settings: Settings, to: Mailbox, sender: Mailbox | None = None) -> AsyncIterator[Finding]:
    """Sends one mail to `to`, from `sender` or the default From address; a finding a step."""
    sender = sender or default_sender(settings)
    findings = list(planned(settings, sender.address if sender else None))
    for finding in findings:
        yield finding
    if any(finding.mark is Mark.FAILED for finding in findings):
        for finding in not_reached(STEPS):
            yield finding
        return
    async for finding in _sent(settings, to, sender):
        yield finding


async def _sent(settings: Settings, to: Mailbox, sender: Mailbox | None) -> AsyncIterator[Finding]:
    redact = Redactor(secrets(settings))
    plan = plan_of(settings, sender.address if sender else None)
    try:
        session = await _open(settings, plan)
    except NotifyError as error:
        yield failed("connect", error, redact)
        for finding in not_reached(["send"]):
            yield finding
        return
    server = session.server
    yield passed(
        "connect", f"{server.tls_version or 'no encryption'}, {server.mechanism.upper() or 'no login'}"
    )
    try:
        yield passed("send", redact(await _send(session, _letter(plan, to, sender))))
    except NotifyError as error:
        yield failed("send", error, redact)
    finally:
        await session.close()


async def _open(settings: Settings, plan: ConnectionPlan) -> Session:
    own = settings.worker
    token = None
    if isinstance(plan.authentication, OAuth2):
        tokens = TokenSource(ssl.create_default_context(), timeout=own.smtp_timeout_seconds)
        token = partial(tokens.token, plan.authentication)
    return await open_session(
        plan,
        timeout=own.smtp_timeout_seconds,
        tls=trust(own.smtp_ca_file),
        token=token,
        local_hostname=socket.gethostname(),
    )


async def _send(session: Session, letter: Letter) -> str:
    """The server's reply."""
    if letter.sender is None:
        raise PermanentError(Reason.SENDER_MISSING)
    reply = await session.send(
        letter.sender.address, letter.to.address, compose(letter), smtputf8=needs_smtputf8(letter)
    )
    return reply.line


def _letter(plan: ConnectionPlan, to: Mailbox, sender: Mailbox | None) -> Letter:
    text = TEXT.format(machine=socket.gethostname(), way=in_words(plan))
    name = f"send-test-{uuid4()}"
    return Letter(
        sender=sender,
        to=to,
        reply_to=None,
        subject=SUBJECT,
        text=text,
        html="".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in text.strip().split("\n\n")),
        date=datetime.now(UTC),
        message_id=f"{name}@{sender.domain if sender else 'localhost'}",
        language="en",
        auto_submitted="auto-generated",
        event_id=name,
    )
