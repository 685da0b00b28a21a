"""The steps from a plan to a connection that is encrypted and introduced, each to be taken on its own."""

import re
import socket
import ssl
from typing import Final

from aiosmtplib import SMTP, SMTPException, SMTPHeloError, SMTPResponse, SMTPResponseException, SMTPStatus

from contracts.dead_letter import Reason
from worker.errors import PermanentError
from worker.smtp.border import speaking
from worker.smtp.plan import ConnectionPlan, Encryption
from worker.smtp.replies import Phase, Reply, explain, judge


def dial(plan: ConnectionPlan, *, seconds: float, tls: ssl.SSLContext, local_hostname: str = "") -> SMTP:
    """A client for the plan's server, not connected yet; each of its steps may take `seconds`."""
    return SMTP(
        hostname=plan.host,
        port=plan.port,
        local_hostname=local_hostname or socket.gethostname(),
        timeout=seconds,
        use_tls=plan.encryption is Encryption.IMPLICIT,
        start_tls=False,
        tls_context=tls,
    )


async def connect(smtp: SMTP) -> SMTPResponse:
    """Connects, with implicit SSL encrypts too, and waits for the greeting, which is returned."""
    try:
        return await smtp.connect()
    except SMTPResponseException as refusal:
        raise judge(Phase.GREETING, Reply(refusal.code, refusal.message)) from None
    except (SMTPException, OSError, ValueError) as fault:
        # The library's own exception is the cause where it was connected, and waited for the greeting.
        phase = Phase.GREETING if isinstance(fault.__cause__, SMTPException) else Phase.CONNECT
        raise explain(phase, fault) from fault


async def introduce(smtp: SMTP) -> None:
    """EHLO, or HELO for a server that knows no EHLO."""
    with speaking(Phase.EHLO):
        try:
            await smtp.ehlo()
        except SMTPHeloError as refusal:
            if refusal.code not in _KNOWS_NO_EHLO:
                raise
            await smtp.helo()


async def encrypt(smtp: SMTP) -> None:
    """STARTTLS; what was said before it counts no longer, so an introduction is due after it."""
    if not smtp.supports_extension("starttls"):
        raise PermanentError(Reason.SMTP_STARTTLS_MISSING, _instead_of_starttls(smtp))
    with speaking(Phase.STARTTLS):
        await smtp.starttls()


def _instead_of_starttls(smtp: SMTP) -> str:
    offered = list(smtp.esmtp_extensions)
    seen = f"it offers {', '.join(offered).upper()}" if offered else "it offers no extensions at all"
    # Firewalls that inspect SMTP overwrite the word in passing.
    masked = any(_MASKED.fullmatch(name) for name in offered)
    return f"{seen}; a firewall that inspects SMTP may have hidden STARTTLS" if masked else seen


_MASKED: Final = re.compile("x{4,}a?", re.IGNORECASE)
_KNOWS_NO_EHLO: Final = {SMTPStatus.unrecognized_command, SMTPStatus.command_not_implemented}
