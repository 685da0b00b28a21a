"""What a server's reply, or a broken connection, means: permanent or transient, whose trouble, for how long.

Pure, and one table, first match wins. Rows that go by words stand above those that go by codes, since Microsoft
and others put permanent faults into transient codes and the other way round.
"""

import os
import re
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from contracts.dead_letter import Reason
from worker.errors import PermanentError, Scope, TransientError

MAX_DETAIL_CHARACTERS: Final = 500
MAX_JUDGED_CHARACTERS: Final = 4096
LONGEST_RETRY_SECONDS: Final = 86400.0


class Phase(StrEnum):
    """Where in a session the server spoke, or failed to. `BODY` is the reply to the final dot."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the server; `text` may have several lines."""

    code: int
    text: str

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463), such as `5.7.1`; empty if there is none."""
        match = re.match(r"[245]\.\d{1,3}\.\d{1,3}(?!\S)", self.text)
        return match.group() if match else ""

    @property
    def line(self) -> str:
        """`<code> <text>` as one line of printable characters."""
        return _one_line(f"{self.code:03} {self.text}")


class Rule(NamedTuple):
    """One row: a reply in `phases` whose line `pattern` is found in. Without a scope the error is permanent.

    `of_one_mail` marks what sounds like the login's or the sender's trouble, and may be this mail's alone.
    """

    phases: frozenset[Phase]
    pattern: re.Pattern[str]
    reason: Reason
    scope: Scope | None
    retry_after: float | None = None
    hint: str = ""
    of_one_mail: bool = False


def judge(phase: Phase, reply: Reply, sender: str = "") -> PermanentError | TransientError:
    """The error that a reply other than success is. Its detail is the reply's line, at most 500 characters.

    `sender` is the bare From address, for replies that name who was refused.
    """
    line = reply.line
    # An address that the server repeats may hold any word, and strangers choose what is written to.
    words = _ADDRESS.sub(
        lambda found: "<sender>" if _names(sender, found[0]) else "<>", line[:MAX_JUDGED_CHARACTERS]
    )
    rule = next(rule for rule in RULES if phase in rule.phases and rule.pattern.search(words))
    detail = _cut(line)
    if rule.scope is None:
        return PermanentError(rule.reason, detail, hint=rule.hint, of_one_mail=rule.of_one_mail)
    return TransientError(
        rule.reason, detail, scope=rule.scope, retry_after=_retry_seconds(line, rule.retry_after)
    )


def explain(phase: Phase, fault: Exception) -> PermanentError | TransientError:
    """The error that an exception of the SMTP library, TLS, DNS or the socket is."""
    root = root_of(fault)
    if phase in _OPENING and isinstance(root, ssl.SSLError) and (reason := _tls_reason(root)):
        return PermanentError(reason, _detail(phase, root))
    return TransientError(Reason.SMTP_UNREACHABLE, _detail(phase, root), scope=Scope.SERVER)


def _names(sender: str, text: str) -> bool:
    """Whether `text`, which looks like an address or several, holds that of `sender`."""
    return bool(sender) and sender.lower() in re.split("[<>,;]+", text.lower().rstrip("."))


_ADDRESS: Final = re.compile(r'<?(?:"[^"]*"|(?<![^\s<>])[^\s<>"@]++)@[^\s<>]+>?')
_ANY: Final = frozenset(Phase)
_RCPT: Final = frozenset({Phase.RCPT})
_AUTH: Final = frozenset({Phase.AUTH})
_MAIL: Final = frozenset({Phase.MAIL})
_ENVELOPE: Final = _MAIL | _RCPT
_STARTTLS: Final = frozenset({Phase.STARTTLS})
_GREETING: Final = frozenset({Phase.CONNECT, Phase.GREETING})
_CONTENT: Final = frozenset({Phase.DATA, Phase.BODY})
_OPENING: Final = frozenset({Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS})
_OF_ONE_MAIL: Final = _RCPT | _CONTENT
_TRANSACTION: Final = _MAIL | _OF_ONE_MAIL

_BAD_SENDER: Final = (
    "The server refuses the From address itself: see its reply, and send from an address that it accepts "
    "(NOTIFY_DEFAULT_FROM, or the from address of the event)."
)
_BLOCK_SECONDS: Final = 1800.0
_QUOTA_SECONDS: Final = 3600.0


def _permanent(
    phases: frozenset[Phase], pattern: str, reason: Reason, hint: str = "", *, of_one_mail: bool = False
) -> Rule:
    return Rule(phases, re.compile(pattern, re.IGNORECASE), reason, None, hint=hint, of_one_mail=of_one_mail)


def _transient(
    phases: frozenset[Phase], pattern: str, reason: Reason, scope: Scope, retry_after: float | None = None
) -> Rule:
    return Rule(phases, re.compile(pattern, re.IGNORECASE), reason, scope, retry_after)


def _everywhere(pattern: str, reason: Reason, hint: str = "") -> tuple[Rule, Rule]:
    """Said at MAIL it is the login's or the sender's trouble; later it may be that of one mail alone."""
    return (
        _permanent(_MAIL, pattern, reason, hint),
        _permanent(_OF_ONE_MAIL, pattern, reason, hint, of_one_mail=True),
    )


def _limit(words: str, reason: Reason, scope: Scope, retry_after: float | None = None) -> tuple[Rule, Rule]:
    """A limit that was reached. A message refused for good has to begin with it: its content may mention it."""
    of_a_message = rf"^4.*({words})|^5\d\d (\d\.\d{{1,3}}\.\d{{1,3}} )?(\w+ ){{0,2}}({words})"
    return (
        _transient(_ANY - _CONTENT, words, reason, scope, retry_after),
        _transient(_CONTENT, of_a_message, reason, scope, retry_after),
    )


_EXCHANGE: Final = (
    # The whole mailbox is shut out after many errors of one kind, and trying on prolongs it. It stands first
    # because it bears the enhanced code of a single refusal.
    _transient(_ANY, r"^550 5\.2\.25[1-5]\b", Reason.SMTP_THROTTLED, Scope.LOGIN, _BLOCK_SECONDS),
    _permanent(_TRANSACTION, r"^[45].*SendAsDenied", Reason.SMTP_SEND_AS_DENIED),
    _transient(_ANY, r"SubmissionQuotaExceeded", Reason.SMTP_QUOTA, Scope.LOGIN, _QUOTA_SECONDS),
    # Sent Items count against the sending mailbox; at RCPT the same words speak of the recipient's.
    _permanent(_CONTENT, r"^[45].*QuotaExceededException|^554 5\.2\.2 mailbox full", Reason.SMTP_QUOTA),
    _permanent(_ANY, r"^4.*mailbox logon failure", Reason.SMTP_AUTHENTICATION_REFUSED),
    _transient(_ANY, r"^4.*recipient thread limit", Reason.SMTP_MAILBOX_UNAVAILABLE, Scope.MESSAGE),
    _transient(
        _ANY,
        r"^4.*(sender thread limit|intentionally delayed)|^432 .*concurrent connections",
        Reason.SMTP_THROTTLED,
        Scope.LOGIN,
    ),
)

_RECIPIENT: Final = (
    # A group that takes mail only from its own people says of the sender what is true of the recipient.
    _permanent(_OF_ONE_MAIL, r"^[45].*(RESOLVER\.RST|\b5\.7\.13[3-6]\b)", Reason.RECIPIENT_REFUSED),
    _permanent(_OF_ONE_MAIL, r"^5\d\d 5\.1\.([1236]|10)\b", Reason.RECIPIENT_REFUSED),
)

_LIMITS: Final = (
    _transient(_ANY, r"^550 5\.4\.5\b", Reason.SMTP_QUOTA, Scope.LOGIN, _QUOTA_SECONDS),
    *_limit(
        r"daily (user )?sending (limit|quota)|daily message quota",
        Reason.SMTP_QUOTA,
        Scope.LOGIN,
        _QUOTA_SECONDS,
    ),
    *_limit(
        r"too many login attempts|throttling failure|peak smtp relay limit", Reason.SMTP_THROTTLED, Scope.LOGIN
    ),
    *_limit(
        r"too many (\w+ ){0,2}(connections|sessions)|connection (rate|frequency)|rate limit|submission rate",
        Reason.SMTP_THROTTLED,
        Scope.SERVER,
    ),
    _transient(
        _ANY,
        r"^4\d\d .*(server( is)? busy|temporary server error)|^421 4\.(7\.|3\.2\b|4\.5\b)",
        Reason.SMTP_THROTTLED,
        Scope.SERVER,
    ),
    _transient(_ANY, r"^4\d\d .*gr[ea]y-?list", Reason.SMTP_THROTTLED, Scope.MESSAGE),
    _transient(_ANY, r"^421\b", Reason.SMTP_BUSY, Scope.SERVER),
)

_LOGIN: Final = (
    _permanent(
        _AUTH | _ENVELOPE,
        r"^[45].*(STARTTLS.{0,30}(first|required)|(issue|requires?) .{0,20}STARTTLS)",
        Reason.SMTP_PORT_MISMATCH,
        "The server wants an encrypted connection: set EmailSmtpUseSSL to true, with port 587.",
    ),
    _permanent(
        _AUTH,
        r"^[45].*(5\.7\.30\b|basic authentication)",
        Reason.SMTP_AUTHENTICATION_REFUSED,
        "The server takes no user name and password: set EmailSmtpUseOAuth2 to true, with the tenant ID, "
        "client ID and client secret.",
    ),
    _permanent(
        _AUTH,
        r"^[45].*SmtpClientAuthentication is disabled",
        Reason.SMTP_AUTHENTICATION_REFUSED,
        "Authenticated SMTP is switched off for the tenant or the mailbox: an administrator of Exchange Online "
        "has to enable it.",
    ),
    _permanent(
        _AUTH,
        r"^[45].*security defaults",
        Reason.SMTP_AUTHENTICATION_REFUSED,
        "The tenant's security defaults block user name and password: use OAuth2 (EmailSmtpUseOAuth2).",
    ),
    _permanent(
        _AUTH,
        r"^[45].*application-specific password",
        Reason.SMTP_AUTHENTICATION_REFUSED,
        "The provider wants an application password in EmailSmtpPassword instead of the account's own.",
    ),
    _permanent(_AUTH, r"^538\b", Reason.SMTP_AUTHENTICATION_MISSING),
    _transient(_AUTH | _ENVELOPE, r"^535\b.*\btemporar(y|ily)\b", Reason.SMTP_BUSY, Scope.LOGIN),
    *_everywhere(r"^535\b", Reason.SMTP_AUTHENTICATION_REFUSED),
    # A challenge after all there was to say: it does not understand what it was told.
    _permanent(_AUTH, r"^5|^334\b|^432 4\.7\.12\b", Reason.SMTP_AUTHENTICATION_REFUSED),
    _transient(_AUTH, r"^454 .*system problem", Reason.SMTP_BUSY, Scope.SERVER),
)

_PERMISSION: Final = (
    _permanent(
        _CONTENT,
        r"^554 .*not verified\b.*\bidentities failed\b(?!.*<sender>)",
        Reason.MESSAGE_REFUSED,
        "In its sandbox Amazon SES sends to verified addresses only: ask for production access, or verify the "
        "recipient's address.",
    ),
    # Postfix's submission port to those who have not logged in.
    _permanent(_TRANSACTION, r"^5.*client host rejected", Reason.SMTP_RELAY_REFUSED),
    _permanent(
        _TRANSACTION,
        r"^5.*(5\.7\.60\b|not allowed to send as|permissions? to send as|not owned by user|"
        r"address is not verified)|^554 access denied",
        Reason.SMTP_SEND_AS_DENIED,
    ),
    *_everywhere(
        r"^530\b|^5.*(5\.7\.57\b|not logged in|not authenticated|authentication (is )?required)|^503 .*auth",
        Reason.SMTP_AUTHENTICATION_MISSING,
    ),
    _permanent(
        _TRANSACTION,
        r"^5.*(5\.7\.(26|27|509)\b|\b(SPF|DKIM|DMARC)\b)",
        Reason.SMTP_SEND_AS_DENIED,
        "The From address's domain has not authorised this server (SPF, DKIM, DMARC): set EmailSMTPHost to the "
        "domain's own SMTP server, or send from an address on the server's domain.",
    ),
    _permanent(
        _TRANSACTION,
        # Postfix puts it into 454, lest a mistake in its settings cost mail.
        r"^550 5\.7\.1 .*relay|^5.*(relay(ing)? (access )?(denied|not|refused|prohibited)|to relay\b)|"
        r"^454 4\.7\.1 .*relay access denied",
        Reason.SMTP_RELAY_REFUSED,
    ),
    _permanent(_TRANSACTION, r"^5\d\d 5\.1\.[78]\b", Reason.SMTP_SEND_AS_DENIED, _BAD_SENDER),
    *_everywhere(r"^5.*sender address rejected", Reason.SMTP_SEND_AS_DENIED, _BAD_SENDER),
)

_MESSAGE: Final = (
    _permanent(
        _TRANSACTION,
        r"^5\d\d 5\.(3\.4|2\.3)\b|^5(23|52|54) .*(size|too (large|big|long))",
        Reason.MESSAGE_TOO_LARGE,
    ),
    _permanent(_TRANSACTION, r"^5\d\d 5\.6\.[79]\b|^5.*SMTPUTF8", Reason.ADDRESS_UNSUPPORTED),
    # The session was out of step, not the message at fault.
    _transient(_TRANSACTION, r"^503\b", Reason.SMTP_BUSY, Scope.MESSAGE),
    _permanent(_RCPT, r"^5\d\d 5\.7\.", Reason.MESSAGE_REFUSED),
    _permanent(_RCPT, r"^5", Reason.RECIPIENT_REFUSED),
    _permanent(_TRANSACTION, r"^5", Reason.MESSAGE_REFUSED),
)

_DEFAULTS: Final = (
    # RFC 3463: the system is not accepting messages, such as while it is shut down.
    _transient(_OPENING, r"^5\d\d 5\.3\.2\b", Reason.SMTP_BUSY, Scope.SERVER),
    _transient(_ANY, r"^4\d\d 4\.(3\.\d+|4\.[12])\b", Reason.SMTP_BUSY, Scope.SERVER),
    _transient(_AUTH, r"^4", Reason.SMTP_BUSY, Scope.LOGIN),
    _transient(_OPENING, r"^4\d\d 4\.7\.", Reason.SMTP_THROTTLED, Scope.SERVER),
    _transient(_OPENING, r"^4", Reason.SMTP_BUSY, Scope.SERVER),
    # Policy about this one message. Were it taken for the server's trouble, one message could hold up all.
    _transient(_TRANSACTION, r"^45[01] 4\.7\.|^452 4\.5\.3\b", Reason.SMTP_THROTTLED, Scope.MESSAGE),
    _transient(_RCPT, r"^4", Reason.SMTP_MAILBOX_UNAVAILABLE, Scope.MESSAGE),
    _transient(_TRANSACTION, r"^450\b|^4\d\d 4\.2\.", Reason.SMTP_MAILBOX_UNAVAILABLE, Scope.MESSAGE),
    _transient(_TRANSACTION, r"^4", Reason.SMTP_BUSY, Scope.MESSAGE),
    _permanent(_STARTTLS, r"^5", Reason.SMTP_STARTTLS_MISSING),
    _permanent(
        _GREETING,
        r"^-",
        Reason.SMTP_PORT_MISMATCH,
        "What answers at EmailSmtpPort is not an SMTP server: check EmailSMTPHost and EmailSmtpPort.",
    ),
    _permanent(_OPENING, r"^5", Reason.SMTP_RELAY_REFUSED),
    _transient(_ANY, r"", Reason.SMTP_BUSY, Scope.SERVER),
)

RULES: Final = (*_EXCHANGE, *_RECIPIENT, *_LIMITS, *_LOGIN, *_PERMISSION, *_MESSAGE, *_DEFAULTS)

_TLS_FAULTS: Final = (
    (
        re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|PACKET_LENGTH_TOO_LONG|RECORD_LAYER_FAILURE"),
        Reason.SMTP_PORT_MISMATCH,
    ),
    (
        re.compile("PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|NO_PROTOCOLS|VERSION_TOO_LOW|HANDSHAKE_FAILURE"),
        Reason.SMTP_TLS_VERSION,
    ),
)

_CONNECTION_FAULTS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLCertVerificationError, "{0.verify_message}"),
    (ssl.SSLError, "TLS failed ({0.reason})"),
    (socket.gaierror, "the host name could not be resolved ({0.strerror}): check EmailSMTPHost"),
    (UnicodeError, "this is no valid host name: check EmailSMTPHost"),
    (
        ConnectionRefusedError,
        "the connection was refused: nothing listens at EmailSmtpPort there, or a firewall refuses it",
    ),
    (TimeoutError, "no answer in time"),
    (ConnectionError, "the connection was lost"),
    (Exception, "{0}"),
)


_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")


def root_of(fault: Exception) -> Exception:
    """The innermost cause, since libraries wrap what tells most. A cancellation tells nothing."""
    cause = fault.__cause__
    return root_of(cause) if isinstance(cause, Exception) else _common(fault)


def _common(fault: Exception) -> Exception:
    """What several addresses of a host have in common, of which asyncio makes one text."""
    numbers = set(_ERRNO.findall(str(fault))) if type(fault) is OSError and fault.errno is None else set()
    return OSError(int(number := numbers.pop()), os.strerror(int(number))) if len(numbers) == 1 else fault


def _tls_reason(fault: ssl.SSLError) -> Reason | None:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return Reason.SMTP_CERTIFICATE
    name = (fault.reason or "").replace(" ", "_").upper()
    return next((reason for pattern, reason in _TLS_FAULTS if pattern.search(name)), None)


def _detail(phase: Phase, fault: Exception) -> str:
    words = next(words for kind, words in _CONNECTION_FAULTS if isinstance(fault, kind))
    # Once connected, it is the server that does not answer.
    advice = ": a firewall may be blocking EmailSmtpPort" if _is_blocked(phase, fault) else ""
    return _cut(_one_line(f"{phase}: {words.format(fault)}{advice}"))


def _is_blocked(phase: Phase, fault: Exception) -> bool:
    return phase is Phase.CONNECT and isinstance(fault, TimeoutError)


_UNIT_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RETRY_HINT: Final = re.compile(
    r"\b(?:retry|again|wait|gr[ea]y-?list\w*|delay\w*|come back)\b\D{0,40}"
    r"(\d{1,6})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b",
    re.IGNORECASE,
)


def _retry_seconds(line: str, otherwise: float | None) -> float | None:
    """The server's "try again in 5 minutes", in seconds and at most a day."""
    hint = _RETRY_HINT.search(line)
    if hint is None:
        return otherwise
    return min(int(hint[1]) * _UNIT_SECONDS[hint[2][0].lower()], LONGEST_RETRY_SECONDS)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _cut(line: str) -> str:
    return line if len(line) <= MAX_DETAIL_CHARACTERS else line[: MAX_DETAIL_CHARACTERS - 1] + "…"
