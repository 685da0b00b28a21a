"""From a plan to an open session: connect, introduce, encrypt, log in; and what is trusted on the way."""

import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from aiosmtplib import SMTP, SMTPResponse
from opentelemetry.trace import SpanKind

from contracts.signals import Attribute
from contracts.signals import Span as SpanName
from worker import telemetry
from worker.smtp.border import speaking
from worker.smtp.diagnose import Diagnosis
from worker.smtp.oauth2 import Token
from worker.smtp.plan import Anonymous, Authentication, ConnectionPlan, Encryption, OAuth2
from worker.smtp.replies import Phase
from worker.smtp.sasl import log_in
from worker.smtp.session import Server, Session
from worker.smtp.steps import connect, dial, encrypt, introduce


def trust(ca_file: Path | None = None) -> ssl.SSLContext:
    """What certificates and TLS versions are accepted: the system's authorities, and those in `ca_file`.

    Costs some 50 ms of CPU: make one and share it. Raises OSError if the file cannot be used.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


async def open_session(
    plan: ConnectionPlan,
    *,
    timeout: float,  # noqa: ASYNC109 - seconds for each step of the session, not for this call
    tls: ssl.SSLContext,
    token: Callable[[], Awaitable[Token]] | None = None,
    local_hostname: str,
    diagnosis: Diagnosis | None = None,
) -> Session:
    """Connects, encrypts and logs in as `plan` says. Raises PermanentError or TransientError.

    `token` is asked first, and only for OAuth2, so that without a token the mail server is left alone. Where
    many may fail at a time they share one `diagnosis`, so that the server is looked at once.
    """
    bearer = await _bearer(plan, token)
    smtp = dial(plan, seconds=timeout, tls=tls, local_hostname=local_hostname)
    with ExitStack() as undo:
        undo.callback(smtp.close)
        greeting = await _reach(smtp, plan, diagnosis or Diagnosis())
        mechanism = await _logged_in(smtp, plan.authentication, bearer)
        server = _server(smtp, greeting, mechanism)
        telemetry.describe({Attribute.TLS_VERSION: server.tls_version})
        session = Session(smtp, server, timeout, expires_at=bearer.expires_at if bearer else None)
        undo.pop_all()
    return session


async def _bearer(plan: ConnectionPlan, token: Callable[[], Awaitable[Token]] | None) -> Token | None:
    if not isinstance(plan.authentication, OAuth2):
        return None
    if token is None:
        raise TypeError("a plan with OAuth2 needs a source of tokens")
    return await token()


async def _reach(smtp: SMTP, plan: ConnectionPlan, diagnosis: Diagnosis) -> SMTPResponse:
    async with diagnosis.watching(plan, smtp):
        greeting = await connect(smtp)
        await introduce(smtp)
        if plan.encryption is Encryption.STARTTLS:
            with telemetry.span(SpanName.SMTP_STARTTLS, SpanKind.CLIENT):
                await encrypt(smtp)
            await introduce(smtp)
    return greeting


async def _logged_in(smtp: SMTP, who: Authentication, bearer: Token | None) -> str:
    if isinstance(who, Anonymous):
        return ""
    with telemetry.span(SpanName.SMTP_AUTH, SpanKind.CLIENT):
        mechanism = await log_in(smtp, who, bearer)
        telemetry.describe({Attribute.SMTP_AUTH_MECHANISM: mechanism})
        return mechanism


def _server(smtp: SMTP, greeting: SMTPResponse, mechanism: str) -> Server:
    with speaking(Phase.AUTH):
        tls = smtp.get_transport_info("ssl_object")
    return Server(greeting.message, dict(smtp.esmtp_extensions), tls.version() if tls else "", mechanism)
