"""What replies and broken connections mean: one row for each that is documented or was seen in the wild."""

import socket
import ssl
from typing import Final

import pytest
from aiosmtplib import SMTPConnectError, SMTPConnectTimeoutError, SMTPServerDisconnected, SMTPStatus
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError
from worker.smtp.replies import MAX_DETAIL_CHARACTERS, Phase, Reply, explain, judge

P, R = Phase, Reason
SERVER, LOGIN, MESSAGE = Scope.SERVER, Scope.LOGIN, Scope.MESSAGE
ANY: Final = tuple(Phase)
OPENING: Final = (P.CONNECT, P.GREETING, P.EHLO, P.STARTTLS)
TRANSACTION: Final = (P.MAIL, P.RCPT, P.DATA, P.BODY)
BUT_AUTH: Final = tuple(phase for phase in Phase if phase is not P.AUTH)

Row = tuple[tuple[Phase, ...], str, Reason, Scope | None]

CLASSES: Final[list[Row]] = [
    (ANY, "421 4.4.2 Timeout", R.SMTP_BUSY, SERVER),
    (ANY, "421 Service not available", R.SMTP_BUSY, SERVER),
    (ANY, "421", R.SMTP_BUSY, SERVER),
    (ANY, "421 4.7.0 Too much mail", R.SMTP_THROTTLED, SERVER),
    (ANY, "421 4.3.2 System not accepting messages", R.SMTP_THROTTLED, SERVER),
    (ANY, "421 4.4.5 Mail system congestion", R.SMTP_THROTTLED, SERVER),
    (OPENING, "450 Not now", R.SMTP_BUSY, SERVER),
    ((P.GREETING, P.EHLO), "554 No SMTP service here", R.SMTP_RELAY_REFUSED, None),
    ((P.EHLO,), "501 5.5.4 Invalid domain name", R.SMTP_RELAY_REFUSED, None),
    (OPENING, "554 5.3.2 System not accepting network messages", R.SMTP_BUSY, SERVER),
    ((P.STARTTLS,), "454 TLS not available due to temporary reason", R.SMTP_BUSY, SERVER),
    ((P.STARTTLS,), "502 5.5.1 Command not implemented", R.SMTP_STARTTLS_MISSING, None),
    ((P.AUTH,), "454 4.7.0 Temporary authentication failure", R.SMTP_BUSY, LOGIN),
    ((P.AUTH,), "432 4.7.12 A password transition is needed", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "534 5.7.9 Mechanism is too weak", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "538 5.7.11 Encryption required", R.SMTP_AUTHENTICATION_MISSING, None),
    ((P.AUTH,), "530 5.7.0 Authentication required", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "535 5.7.8 Credentials invalid", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH, P.MAIL), "535 5.7.0 Temporary authentication failure", R.SMTP_BUSY, LOGIN),
    ((P.AUTH,), "535 5.7.8 Error: authentication failed: temporary failure", R.SMTP_BUSY, LOGIN),
    ((P.AUTH,), "535 Account temporarily locked", R.SMTP_BUSY, LOGIN),
    ((P.AUTH,), "535 5.7.3 Authentication unsuccessful", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "535 5.7.139 Authentication unsuccessful", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "535 5.7.144 Invalid API permissions", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "501 5.5.124 Invalid parameter", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "504 5.5.4 Unrecognized authentication type", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "550 5.7.30 Basic authentication is not supported", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.MAIL,), "530 5.7.57 Client not authenticated to send mail", R.SMTP_AUTHENTICATION_MISSING, None),
    (TRANSACTION, "530 5.7.0 Authentication required", R.SMTP_AUTHENTICATION_MISSING, None),
    ((P.MAIL, P.DATA, P.BODY), "451 Local error in processing", R.SMTP_BUSY, MESSAGE),
    ((P.MAIL, P.DATA, P.BODY), "452 Insufficient storage", R.SMTP_BUSY, MESSAGE),
    (TRANSACTION, "450 Mailbox unavailable", R.SMTP_MAILBOX_UNAVAILABLE, MESSAGE),
    ((P.RCPT,), "451 4.1.1 Try another time", R.SMTP_MAILBOX_UNAVAILABLE, MESSAGE),
    (TRANSACTION, "452 4.2.2 Mailbox full", R.SMTP_MAILBOX_UNAVAILABLE, MESSAGE),
    ((P.RCPT,), "452 4.5.3 Too many recipients", R.SMTP_THROTTLED, MESSAGE),
    (ANY, "452 4.3.1 Insufficient system storage", R.SMTP_BUSY, SERVER),
    (ANY, "451 4.3.0 Temporary lookup failure", R.SMTP_BUSY, SERVER),
    (ANY, "451 4.4.1 No answer from host", R.SMTP_BUSY, SERVER),
    (OPENING, "450 4.7.1 Client host rejected", R.SMTP_THROTTLED, SERVER),
    (TRANSACTION, "450 4.7.1 Policy", R.SMTP_THROTTLED, MESSAGE),
    (TRANSACTION, "451 4.7.1 Greylisted", R.SMTP_THROTTLED, MESSAGE),
    (TRANSACTION, "450 4.2.0 Recipient address rejected: Greylisted", R.SMTP_THROTTLED, MESSAGE),
    (TRANSACTION, "552 5.3.4 Message size exceeds fixed limit", R.MESSAGE_TOO_LARGE, None),
    (TRANSACTION, "552 5.2.3 Message exceeds the limit", R.MESSAGE_TOO_LARGE, None),
    ((P.MAIL, P.BODY), "552 Message is too big", R.MESSAGE_TOO_LARGE, None),
    ((P.RCPT, P.BODY), "550 5.1.1 No such user", R.RECIPIENT_REFUSED, None),
    ((P.RCPT,), "550 5.1.2 No such domain", R.RECIPIENT_REFUSED, None),
    ((P.RCPT,), "553 5.1.3 Bad address syntax", R.RECIPIENT_REFUSED, None),
    ((P.RCPT,), "550 5.1.6 Mailbox has moved", R.RECIPIENT_REFUSED, None),
    ((P.RCPT, P.BODY), "550 5.1.10 RESOLVER.ADR.RecipientNotFound", R.RECIPIENT_REFUSED, None),
    ((P.RCPT,), "550 No such user", R.RECIPIENT_REFUSED, None),
    ((P.RCPT,), "552 5.2.2 Mailbox full", R.RECIPIENT_REFUSED, None),
    (TRANSACTION, "553 5.1.7 Bad sender address syntax", R.SMTP_SEND_AS_DENIED, None),
    (TRANSACTION, "550 5.1.8 Access denied, bad outbound sender", R.SMTP_SEND_AS_DENIED, None),
    ((P.MAIL,), "501 5.5.2 Syntax error", R.MESSAGE_REFUSED, None),
    ((P.RCPT, P.BODY), "550 5.7.1 Refused by policy", R.MESSAGE_REFUSED, None),
    ((P.RCPT, P.BODY), "550 5.7.1 Unable to relay", R.SMTP_RELAY_REFUSED, None),
    ((P.RCPT,), "554 5.7.1 <a@example.org>: Relay access denied", R.SMTP_RELAY_REFUSED, None),
    ((P.RCPT,), "454 4.7.1 <a@example.org>: Relay access denied", R.SMTP_RELAY_REFUSED, None),
    ((P.RCPT,), "450 4.7.1 <a@example.org>: Recipient address rejected: policy", R.SMTP_THROTTLED, MESSAGE),
    ((P.RCPT,), "550 5.7.64 TenantAttribution; Relay Access Denied", R.SMTP_RELAY_REFUSED, None),
    ((P.RCPT,), "550 relaying not permitted", R.SMTP_RELAY_REFUSED, None),
    ((P.RCPT,), "550 5.1.1 relay.example.org knows no such user", R.RECIPIENT_REFUSED, None),
    ((P.BODY,), "550 5.7.26 Unauthenticated email is not accepted", R.SMTP_SEND_AS_DENIED, None),
    ((P.BODY,), "550 5.7.509 Access denied, sending domain fails", R.SMTP_SEND_AS_DENIED, None),
    ((P.RCPT, P.BODY), "550 5.7.1 Refused by the DMARC policy of the domain", R.SMTP_SEND_AS_DENIED, None),
    (TRANSACTION, "503 5.5.1 Bad sequence of commands", R.SMTP_BUSY, MESSAGE),
    (TRANSACTION, "503 5.5.1 Authentication first", R.SMTP_AUTHENTICATION_MISSING, None),
    (TRANSACTION, "550 5.6.7 SMTPUTF8 is needed", R.ADDRESS_UNSUPPORTED, None),
    ((P.DATA, P.BODY), "554 5.6.0 Bad content", R.MESSAGE_REFUSED, None),
    ((P.DATA,), "500 5.5.2 Line too long", R.MESSAGE_REFUSED, None),
    ((P.GREETING,), "-01 Malformed SMTP response line: HTTP/1.1 400", R.SMTP_PORT_MISMATCH, None),
    ((P.EHLO, P.AUTH, *TRANSACTION), "-01 Malformed SMTP response line: x", R.SMTP_BUSY, SERVER),
    (TRANSACTION, "334 VXNlcm5hbWU6", R.SMTP_BUSY, SERVER),
    ((P.AUTH,), "334 VXNlcm5hbWU6", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.AUTH,), "334", R.SMTP_AUTHENTICATION_REFUSED, None),
]

EXCHANGE: Final[list[Row]] = [
    (
        (P.BODY,),
        "554 5.2.252 SendAsDenied; a@x.example not allowed to send as b@x.example; STOREDRV.Submission",
        R.SMTP_SEND_AS_DENIED,
        None,
    ),
    (
        (P.BODY,),
        "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; Failed",
        R.SMTP_SEND_AS_DENIED,
        None,
    ),
    (
        (P.MAIL, P.BODY),
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        R.SMTP_SEND_AS_DENIED,
        None,
    ),
    (
        (P.MAIL,),
        "550 5.7.1 Client does not have permission to send as this sender",
        R.SMTP_SEND_AS_DENIED,
        None,
    ),
    (
        (P.BODY,),
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed",
        R.SMTP_QUOTA,
        LOGIN,
    ),
    (
        (P.BODY,),
        "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException; Failed",
        R.SMTP_QUOTA,
        None,
    ),
    ((P.RCPT,), "554 5.2.2 mailbox full", R.RECIPIENT_REFUSED, None),
    (ANY, "430 4.2.0 STOREDRV; mailbox logon failure", R.SMTP_AUTHENTICATION_REFUSED, None),
    (ANY, "432 4.3.2 Concurrent connections limit exceeded", R.SMTP_THROTTLED, LOGIN),
    (
        (P.BODY,),
        "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        R.SMTP_THROTTLED,
        LOGIN,
    ),
    (
        (P.BODY,),
        "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded",
        R.SMTP_MAILBOX_UNAVAILABLE,
        MESSAGE,
    ),
    ((P.BODY,), "432 4.3.21 Mailbox server busy; mail intentionally delayed", R.SMTP_THROTTLED, LOGIN),
    (
        TRANSACTION,
        "421 4.4.2 Message submission rate for this client has exceeded the configured limit",
        R.SMTP_THROTTLED,
        SERVER,
    ),
    (
        TRANSACTION,
        "421 4.4.1 Connection timed out. Total session duration: 00:05:00.10",
        R.SMTP_BUSY,
        SERVER,
    ),
    (TRANSACTION, "451 4.7.500 Server busy. Please try again later", R.SMTP_THROTTLED, SERVER),
    ((P.MAIL,), "451 5.7.3 STARTTLS is required to send mail", R.SMTP_PORT_MISMATCH, None),
    *[
        ((P.AUTH, P.MAIL, P.BODY), f"550 5.2.25{n} Sender throttled due to continuous {cause} errors", *blocked)
        for blocked in [(R.SMTP_THROTTLED, LOGIN)]
        for n, cause in enumerate(
            ("mailbox full", "send as denied", "invalid license", "too many recipients", "invalid recipients"),
            start=1,
        )
    ],
]

OTHERS: Final[list[Row]] = [
    ((P.MAIL, P.BODY), "550 5.4.5 Daily user sending limit exceeded", R.SMTP_QUOTA, LOGIN),
    ((P.MAIL,), "450 4.2.1 Peak SMTP relay limit exceeded for customer", R.SMTP_THROTTLED, LOGIN),
    ((P.AUTH,), "454 4.7.0 Too many login attempts, please try again later", R.SMTP_THROTTLED, LOGIN),
    ((P.AUTH,), "454 4.7.0 Cannot authenticate due to temporary system problem", R.SMTP_BUSY, SERVER),
    ((P.AUTH,), "534 5.7.14 Please log in via your web browser", R.SMTP_AUTHENTICATION_REFUSED, None),
    ((P.DATA, P.BODY), "451 4.4.2 Timeout - closing connection", R.SMTP_BUSY, SERVER),
    (TRANSACTION, "454 Throttling failure: Maximum sending rate exceeded.", R.SMTP_THROTTLED, LOGIN),
    (TRANSACTION, "454 Throttling failure: Daily message quota exceeded.", R.SMTP_QUOTA, LOGIN),
    ((P.BODY,), "554 Message rejected: Email address is not verified.", R.SMTP_SEND_AS_DENIED, None),
    ((P.BODY,), "554 Access denied: User x is not authorized to perform y", R.SMTP_SEND_AS_DENIED, None),
    (BUT_AUTH, "421 4.7.0 Too many concurrent SMTP connections", R.SMTP_THROTTLED, SERVER),
    ((P.GREETING, P.MAIL), "550 Connection frequency limited", R.SMTP_THROTTLED, SERVER),
    ((P.RCPT,), "451 Rate limit exceeded", R.SMTP_THROTTLED, SERVER),
    (
        (P.MAIL, P.RCPT),
        "553 5.7.1 <a@example.com>: Sender address rejected: not owned by user b",
        R.SMTP_SEND_AS_DENIED,
        None,
    ),
    (
        (P.MAIL, P.RCPT),
        "553 5.7.1 <a@example.com>: Sender address rejected: not logged in",
        R.SMTP_AUTHENTICATION_MISSING,
        None,
    ),
    ((P.AUTH, P.MAIL), "530 5.7.0 Must issue a STARTTLS command first", R.SMTP_PORT_MISMATCH, None),
    (
        (P.MAIL, P.RCPT),
        "550 5.1.8 <a@example.com>: Sender address rejected: Domain not found",
        R.SMTP_SEND_AS_DENIED,
        None,
    ),
    (
        (P.MAIL, P.RCPT),
        "504 5.5.2 <a@example>: Sender address rejected: need fully-qualified address",
        R.SMTP_SEND_AS_DENIED,
        None,
    ),
    (
        (P.RCPT,),
        "504 5.5.2 <a@example>: Recipient address rejected: need fully-qualified address",
        R.RECIPIENT_REFUSED,
        None,
    ),
    ((P.BODY,), "550 5.7.1 Rate limit exceeded", R.SMTP_THROTTLED, SERVER),
    ((P.BODY,), "554 Sending rate limit exceeded", R.SMTP_THROTTLED, SERVER),
    ((P.BODY,), "550 5.4.6 Daily sending quota exceeded", R.SMTP_QUOTA, LOGIN),
    ((P.BODY,), "452 4.3.1 Sorry, too many sessions", R.SMTP_THROTTLED, SERVER),
]

OF_THE_CONTENT: Final = (
    "554 5.7.1 Message refused: looks like spam about rate limits",
    "550 5.7.1 Content rejected (rule TOO_MANY: too many sessions)",
    "554 5.6.0 The subject mentions a daily sending limit",
    "550 5.7.1 Rejected by policy: talk of connection rate and submission rate",
    "554 5.7.1 Blocked: phishing, 'too many login attempts'",
    "554 5.7.1 Blocked: phishing, 'mailbox logon failure', delivery intentionally delayed",
    "554 5.7.1 Blocked: it says that STARTTLS is required first",
    "554 5.7.1 Blocked: it says that the sender thread limit was exceeded",
)


@pytest.mark.parametrize("reply", OF_THE_CONTENT)
def test_a_message_that_is_refused_for_what_it_says_is_refused(reply: str) -> None:
    """What its content mentions is not what the server is short of: were it so, one mail could stop all."""
    for phase in (P.DATA, P.BODY):
        assert judge(phase, Reply(int(reply[:3]), reply[4:])).reason is R.MESSAGE_REFUSED


SES: Final = "554 Message rejected: Email address is not verified."
SES_LIST: Final = f"{SES} The following identities failed the check in region EU-WEST-1:"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        pytest.param(SES, R.SMTP_SEND_AS_DENIED, id="no list"),
        pytest.param(f"{SES_LIST} cms@example.com", R.SMTP_SEND_AS_DENIED, id="the sender"),
        pytest.param(f"{SES_LIST} ann@example.org, CMS@example.com.", R.SMTP_SEND_AS_DENIED, id="and another"),
        pytest.param(
            f"{SES_LIST} ann@example.org,cms@example.com", R.SMTP_SEND_AS_DENIED, id="without a space"
        ),
        pytest.param(f"{SES_LIST} ann@example.org", R.MESSAGE_REFUSED, id="the recipient"),
        pytest.param(f"{SES_LIST} the-cms@example.com", R.MESSAGE_REFUSED, id="a longer address"),
    ],
)
def test_amazon_ses_names_who_is_not_verified(reply: str, reason: Reason) -> None:
    """In its sandbox recipients have to be verified as well: the sender is to blame only where it is named."""
    error = judge(P.BODY, Reply(int(reply[:3]), reply[4:]), "cms@example.com")
    assert isinstance(error, PermanentError)
    assert error.reason is reason
    assert ("sandbox" in error.hint) is (reason is R.MESSAGE_REFUSED)


@pytest.mark.parametrize(
    "reply",
    [
        "530 5.7.0 Authentication required",
        "550 5.7.1 Authentication is required to write to this list",
        "535 5.7.3 Authentication unsuccessful",
        "554 5.7.1 <cms@example.com>: Sender address rejected: Access denied",
    ],
)
def test_what_may_be_said_of_one_mail_alone_is_marked(reply: str) -> None:
    """At MAIL it holds for all of this login or sender; later it is for the one who knows them to say."""
    marks = [judge(phase, Reply(int(reply[:3]), reply[4:])) for phase in TRANSACTION]
    assert [getattr(error, "of_one_mail", None) for error in marks] == [False, True, True, True]


@pytest.mark.parametrize(
    ("phases", "reply", "reason", "scope"),
    [*CLASSES, *EXCHANGE, *OTHERS],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_a_reply_means_the_same_wherever_it_may_come(
    phases: tuple[Phase, ...], reply: str, reason: Reason, scope: Scope | None
) -> None:
    """RFC 5321, RFC 4954, RFC 3463, and what Exchange Online, Gmail and Amazon SES make of them."""
    code, _, text = reply.partition(" ")
    for phase in phases:
        error = judge(phase, Reply(int(code), text))
        assert (phase, error.reason, getattr(error, "scope", None)) == (phase, reason, scope)
        assert isinstance(error, TransientError if scope else PermanentError)
        assert error.detail == reply


HINTS: Final = {
    "550 5.7.30 Basic authentication is not supported for Client Submission": "EmailSmtpUseOAuth2",
    "535 5.7.139 SmtpClientAuthentication is disabled for the Tenant": "administrator of Exchange Online",
    "535 5.7.139 blocked by your organization's security defaults policy": "EmailSmtpUseOAuth2",
    "534 5.7.9 Application-specific password required": "EmailSmtpPassword",
    "530 5.7.0 Must issue a STARTTLS command first": "EmailSmtpUseSSL",
}


@pytest.mark.parametrize(("reply", "part"), HINTS.items())
def test_a_refused_login_says_what_to_do(reply: str, part: str) -> None:
    """`535` tells nobody anything; what stands beside it often does."""
    assert part in judge(P.AUTH, Reply(int(reply[:3]), reply[4:])).hint


def test_a_from_address_that_may_not_come_from_this_server_is_explained() -> None:
    """The guide's section "Sending from your own email domain"."""
    hint = judge(P.BODY, Reply(550, "5.7.26 Unauthenticated email from example.com")).hint
    assert "SPF" in hint
    assert "EmailSMTPHost" in hint


RETRIES: Final = {
    "450 4.7.1 Greylisted for 300 seconds": 300,
    "450 4.2.0 Greylisted, try again in 5 minutes": 300,
    "451 4.7.1 Please try again in 2 hours": 7200,
    "421 4.7.0 Try again later: wait 90s": 90,
    "450 Retry after 1 min": 60,
    "451 delayed 30 secs": 30,
    "450 Try again in 90000 seconds": 86400,
    "450 Try again later": None,
    "450 4.7.1 Try again 4.7.1": None,
    "450 Retry in 500 ms": None,
    "421 4.4.1 Connection timed out. Total session duration: 00:05:00": None,
    "550 5.2.252 Sender throttled due to continuous send as denied errors": 1800,
    "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException": 3600,
}


@pytest.mark.parametrize(("reply", "seconds"), RETRIES.items())
def test_the_servers_own_hint_when_to_try_again_is_read(reply: str, seconds: float | None) -> None:
    """A day at most; without a hint the worker's own ladder decides, save where a block or quota is known."""
    error = judge(P.BODY, Reply(int(reply[:3]), reply[4:]))
    assert isinstance(error, TransientError)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("text", "enhanced"),
    [
        ("5.7.1 No", "5.7.1"),
        ("2.0.0", "2.0.0"),
        ("5.7.139 No\n5.7.139 at all", "5.7.139"),
        ("No 5.7.1", ""),
        ("5.7.1: No", ""),
        ("5.7 No", ""),
        ("1.2.3 No", ""),
        ("192.0.2.1 No", ""),
        ("", ""),
    ],
)
def test_the_enhanced_code_stands_at_the_beginning(text: str, enhanced: str) -> None:
    """RFC 2034 section 4: a class, a subject and a detail, then a space."""
    assert Reply(550, text).enhanced == enhanced


@given(
    phase=st.sampled_from(Phase),
    code=st.integers(min_value=-1, max_value=999),
    text=st.text(st.characters(codec=None), max_size=2000),
)
@settings(max_examples=300, deadline=None)
def test_any_reply_has_a_verdict(phase: Phase, code: int, text: str) -> None:
    """Servers say anything; the detail is one printable line, fit for a header. Only a no is for good."""
    error = judge(phase, Reply(code, text))
    assert error.detail.isprintable()
    assert len(error.detail) <= MAX_DETAIL_CHARACTERS
    assert error.detail.encode()
    challenge = phase is Phase.AUTH and code == SMTPStatus.auth_continue
    assert isinstance(error, TransientError) or 400 <= code < 600 or code == -1 or challenge


def _caused(outer: Exception, cause: Exception) -> Exception:
    outer.__cause__ = cause
    return outer


def _tls(reason: str) -> ssl.SSLError:
    fault = ssl.SSLError(1, f"[SSL: {reason}] said OpenSSL")
    fault.reason = reason
    return fault


FAULTS: Final[dict[str, tuple[Exception, Reason]]] = {
    "refused": (
        _caused(SMTPConnectError("x"), ConnectionRefusedError(111, "Connection refused")),
        R.SMTP_UNREACHABLE,
    ),
    "several addresses": (
        _caused(SMTPConnectError("x"), OSError("Multiple exceptions: …")),
        R.SMTP_UNREACHABLE,
    ),
    "no route": (_caused(SMTPConnectError("x"), OSError(113, "No route to host")), R.SMTP_UNREACHABLE),
    "unknown name": (
        _caused(SMTPConnectError("x"), socket.gaierror(-2, "Name or service not known")),
        R.SMTP_UNREACHABLE,
    ),
    "no name": (UnicodeError("label empty or too long"), R.SMTP_UNREACHABLE),
    "time out": (_caused(SMTPConnectTimeoutError("x"), TimeoutError()), R.SMTP_UNREACHABLE),
    "lost": (SMTPServerDisconnected("Connection lost"), R.SMTP_UNREACHABLE),
    "plain text at an implicit SSL dial": (_tls("WRONG_VERSION_NUMBER"), R.SMTP_PORT_MISMATCH),
    "plain text, newer OpenSSL": (_tls("RECORD_LAYER_FAILURE"), R.SMTP_PORT_MISMATCH),
    "alert for the version": (_tls("TLSV1_ALERT_PROTOCOL_VERSION"), R.SMTP_TLS_VERSION),
    "version too old": (_tls("UNSUPPORTED_PROTOCOL"), R.SMTP_TLS_VERSION),
    "no cipher in common": (_tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), R.SMTP_TLS_VERSION),
    "no cipher in common, Python 3.14": (_tls("ssl/tls alert handshake failure"), R.SMTP_TLS_VERSION),
    "cut off in the handshake": (_tls("UNEXPECTED_EOF_WHILE_READING"), R.SMTP_UNREACHABLE),
    "wrapped": (
        _caused(SMTPConnectError("x"), _tls("WRONG_VERSION_NUMBER")),
        R.SMTP_PORT_MISMATCH,
    ),
}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_connection_is_explained_by_its_cause(fault: Exception, reason: Reason) -> None:
    """The library wraps what tells most."""
    error = explain(P.CONNECT, fault)
    assert error.reason is reason
    assert error.detail.startswith("connect: ")
    if reason is R.SMTP_UNREACHABLE:
        assert isinstance(error, TransientError)
        assert error.scope is SERVER
    else:
        assert isinstance(error, PermanentError)


@pytest.mark.parametrize("phase", [P.AUTH, *TRANSACTION])
def test_an_encrypted_session_that_breaks_is_no_configuration_fault(phase: Phase) -> None:
    """Settings with which TLS was agreed on cannot be wrong about TLS."""
    assert explain(phase, _tls("RECORD_LAYER_FAILURE")).reason is R.SMTP_UNREACHABLE


@pytest.mark.parametrize("local", ["spf", "SendAsDenied", "dmarc", "SubmissionQuotaExceeded", "relay-denied"])
def test_a_word_in_an_address_says_nothing(local: str) -> None:
    """Strangers choose what is written to: an address must not take its sender out of service."""
    for address in (f"<{local}@example.com>", f"{local}@example.com", f'<"a {local}"@example.com>'):
        error = judge(Phase.RCPT, Reply(550, f"5.1.1 {address}: Recipient address rejected: User unknown"))
        assert error.reason is Reason.RECIPIENT_REFUSED


@pytest.mark.parametrize(
    "text",
    [
        "5.7.1 RESOLVER.RST.AuthRequired; authentication required",
        "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
    ],
)
def test_a_group_for_its_own_people_is_the_recipients_trouble(text: str) -> None:
    """It speaks of authentication and means the recipient."""
    for phase in (Phase.RCPT, Phase.BODY):
        assert judge(phase, Reply(550, text)).reason is Reason.RECIPIENT_REFUSED


def test_a_535_is_a_refused_login_wherever_it_comes() -> None:
    """Some servers say so only at MAIL."""
    error = judge(Phase.MAIL, Reply(535, "5.7.3 Authentication unsuccessful"))
    assert error.reason is Reason.SMTP_AUTHENTICATION_REFUSED
