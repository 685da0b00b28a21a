"""The dead letter: why an event could not be delivered, as a closed set of codes and a set of message headers.

The body of a dead letter is the original message, untouched; everything else is in headers with the prefix
`notify-`: scalars only, so that no conversion to AMQP 1.0 drops them, and at most 32 KiB together, since a
header frame above 128 KiB makes RabbitMQ close the whole connection.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

from contracts import error_texts

HEADER_PREFIX: Final = "notify-"
MAX_HEADER_BYTES: Final = 32 * 1024
MAX_DETAIL_CHARACTERS: Final = 2048
CUT: Final = "…"


class DeadClass(StrEnum):
    """What the operator has to do: mend a setting, report a bug, tell a sender, or just send again."""

    CONFIG = "config"
    POISON = "poison"
    REJECTED = "rejected"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"


class Reason(StrEnum):
    """Every code a dead letter can carry."""

    OAUTH2_REQUIRES_TLS = "oauth2-requires-tls"
    OAUTH2_NOT_CONFIGURED = "oauth2-not-configured"
    OAUTH2_USERNAME_UNKNOWN = "oauth2-username-unknown"
    OAUTH2_ENDPOINT_NOT_HTTPS = "oauth2-endpoint-not-https"
    OAUTH2_CLIENT_MISSING = "oauth2-client-missing"
    OAUTH2_CLIENT_REFUSED = "oauth2-client-refused"
    OAUTH2_SCOPE_REFUSED = "oauth2-scope-refused"
    SMTP_AUTHENTICATION_REFUSED = "smtp-authentication-refused"
    SMTP_PORT_MISMATCH = "smtp-port-mismatch"
    SMTP_TLS_VERSION = "smtp-tls-version"
    SMTP_CERTIFICATE = "smtp-certificate"
    SMTP_STARTTLS_MISSING = "smtp-starttls-missing"
    SMTP_AUTHENTICATION_MISSING = "smtp-authentication-missing"
    SMTP_SEND_AS_DENIED = "smtp-send-as-denied"
    SMTP_RELAY_REFUSED = "smtp-relay-refused"
    SMTP_QUOTA = "smtp-quota"
    SMTP_HOST_MISSING = "smtp-host-missing"
    SENDER_MISSING = "sender-missing"
    ENVELOPE = "envelope"
    UNKNOWN_TYPE = "unknown-type"
    INVALID_DATA = "invalid-data"
    TEMPLATE = "template"
    ATTACHMENT_REFUSED = "attachment-refused"
    DELIVERY_LIMIT = "delivery-limit"
    UNEXPECTED = "unexpected"
    RECIPIENT_REFUSED = "recipient-refused"
    MESSAGE_REFUSED = "message-refused"
    MESSAGE_TOO_LARGE = "message-too-large"
    ADDRESS_UNSUPPORTED = "address-unsupported"
    EXPIRED = "expired"
    SMTP_UNREACHABLE = "smtp-unreachable"
    SMTP_BUSY = "smtp-busy"
    SMTP_THROTTLED = "smtp-throttled"
    SMTP_MAILBOX_UNAVAILABLE = "smtp-mailbox-unavailable"
    TOKEN_UNAVAILABLE = "token-unavailable"  # noqa: S105 - a code, no secret
    ATTACHMENT_UNAVAILABLE = "attachment-unavailable"


class About(BaseModel):
    """What is said of a code wherever it appears: its class, sentence, settings at fault, and what to do."""

    model_config = ConfigDict(frozen=True)

    dead_class: DeadClass
    text: str
    hint: str
    settings: tuple[str, ...] = ()

    @classmethod
    def of(cls, dead_class: DeadClass, text: str, hint: str, *settings: str) -> Self:
        """An entry of the table below."""
        return cls(dead_class=dead_class, text=text, hint=hint, settings=settings)


_TLS = ("EmailSmtpUseSSL", "EmailSmtpUseImplicitSSL")
_ENCRYPTION = ("EmailSmtpPort", *_TLS)
_CLIENT = ("EmailSmtpOAuth2ClientId", "EmailSmtpOAuth2ClientSecret")
_LOGIN = ("EmailSmtpUsername", "EmailSmtpPassword")
_C, _P, _R, _X = DeadClass.CONFIG, DeadClass.POISON, DeadClass.REJECTED, DeadClass.EXHAUSTED

ABOUT: Final[Mapping[Reason, About]] = {
    Reason.OAUTH2_REQUIRES_TLS: About.of(
        _C,
        error_texts.OAUTH2_REQUIRES_TLS,
        "EmailSmtpUseOAuth2 is true but neither SSL setting is enabled. Set EmailSmtpUseSSL to true "
        "(or EmailSmtpUseImplicitSSL for SSL-on-connect providers).",
        *_TLS,
    ),
    Reason.OAUTH2_NOT_CONFIGURED: About.of(
        _C,
        error_texts.OAUTH2_NOT_CONFIGURED,
        "Fill in the tenant ID (Microsoft 365) or the token endpoint (other providers).",
        "EmailSmtpOAuth2AzureTenantId",
        "EmailSmtpOAuth2TokenEndpoint",
    ),
    Reason.OAUTH2_USERNAME_UNKNOWN: About.of(
        _C,
        error_texts.OAUTH2_USERNAME_UNKNOWN,
        "OAuth2 is enabled, EmailSmtpUsername is empty, and the email has no From address. "
        "Set EmailSmtpUsername to the sending mailbox's address.",
        "EmailSmtpUsername",
    ),
    Reason.OAUTH2_ENDPOINT_NOT_HTTPS: About.of(
        _C,
        "EmailSmtpOAuth2TokenEndpoint must be an HTTPS URL",
        "Set EmailSmtpOAuth2TokenEndpoint to your provider's token endpoint, beginning with https://.",
        "EmailSmtpOAuth2TokenEndpoint",
    ),
    Reason.OAUTH2_CLIENT_MISSING: About.of(
        _C,
        "OAuth2 is enabled but EmailSmtpOAuth2ClientId or EmailSmtpOAuth2ClientSecret is not configured",
        "Fill in the client ID and the client secret from your provider's app registration.",
        *_CLIENT,
    ),
    Reason.OAUTH2_CLIENT_REFUSED: About.of(
        _C,
        "The identity provider refused the OAuth2 client",
        "Check the tenant ID, the client ID and the client secret: paste the secret's Value, not its ID, and "
        "make sure that it has not expired.",
        "EmailSmtpOAuth2AzureTenantId",
        *_CLIENT,
    ),
    Reason.OAUTH2_SCOPE_REFUSED: About.of(
        _C,
        "The identity provider refused the OAuth2 scope",
        "Set EmailSmtpOAuth2Scope to the scope your provider documents for SMTP; leave it empty for "
        "Microsoft 365.",
        "EmailSmtpOAuth2Scope",
    ),
    Reason.SMTP_AUTHENTICATION_REFUSED: About.of(
        _C,
        error_texts.AUTHENTICATION_UNSUCCESSFUL,
        "With a user name and password: check both. With OAuth2 for Microsoft 365, either grant the app the "
        "permission SMTP.SendAsApp with admin consent, register its service principal (by the Object ID of the "
        "Enterprise application) and give it the mailbox by Add-MailboxPermission; or assign it the Exchange "
        "role 'Application SMTP.SendAsApp' for the mailbox. Not both: mixed, they refuse each other. "
        "New permissions take 15 to 30 minutes. Then send these again.",
        *_LOGIN,
    ),
    Reason.SMTP_PORT_MISMATCH: About.of(
        _C,
        error_texts.CONNECTION_FAILS,
        "The port does not match the encryption mode: use 465 with EmailSmtpUseImplicitSSL, 587 with "
        "EmailSmtpUseSSL, 25 with neither.",
        *_ENCRYPTION,
    ),
    Reason.SMTP_TLS_VERSION: About.of(
        _C,
        error_texts.CONNECTION_FAILS,
        "The mail server offers no TLS 1.2 or later; it needs to be updated.",
        "EmailSMTPHost",
    ),
    Reason.SMTP_CERTIFICATE: About.of(
        _C,
        "The mail server's certificate could not be verified",
        "Set EmailSMTPHost to the name the certificate is issued for; for an internal certificate authority, "
        "set NOTIFY_SMTP_CA_FILE to its certificate.",
        "EmailSMTPHost",
        "NOTIFY_SMTP_CA_FILE",
    ),
    Reason.SMTP_STARTTLS_MISSING: About.of(
        _C,
        "EmailSmtpUseSSL is true but the mail server does not offer STARTTLS",
        "Check that EmailSmtpPort is the server's STARTTLS port, usually 587.",
        "EmailSmtpUseSSL",
        "EmailSmtpPort",
    ),
    Reason.SMTP_AUTHENTICATION_MISSING: About.of(
        _C,
        "The mail server requires authentication, or offers none that the settings can use",
        "Set both EmailSmtpUsername and EmailSmtpPassword, or use OAuth2; many servers offer authentication "
        "only over an encrypted connection.",
        *_LOGIN,
        "EmailSmtpUseOAuth2",
    ),
    Reason.SMTP_SEND_AS_DENIED: About.of(
        _C,
        "The mail server does not let this login send from this From address",
        "Grant the login SendAs permission for the From mailbox, or send from an address it may use.",
        "EmailSmtpUsername",
        "NOTIFY_DEFAULT_FROM",
    ),
    Reason.SMTP_RELAY_REFUSED: About.of(
        _C,
        "The mail server refuses to relay mail for this worker",
        "Log in (EmailSmtpUsername and EmailSmtpPassword), or let the server accept mail from this host.",
        "EmailSMTPHost",
        *_LOGIN,
    ),
    Reason.SMTP_QUOTA: About.of(
        _C,
        "The mail server's sending quota for this mailbox is used up",
        "Wait until the quota is renewed, raise it, or free space in the sending mailbox; "
        "then send these again.",
        "EmailSmtpUsername",
    ),
    Reason.SMTP_HOST_MISSING: About.of(
        _C,
        "EmailSMTPHost is empty",
        "Set EmailSMTPHost to the hostname or IP address of your SMTP server.",
        "EmailSMTPHost",
    ),
    Reason.SENDER_MISSING: About.of(
        _C,
        "The email has no From address",
        "Set NOTIFY_DEFAULT_FROM, or let the publisher give the event a from address.",
        "NOTIFY_DEFAULT_FROM",
    ),
    Reason.ENVELOPE: About.of(
        _P,
        "The message is not a CloudEvents 1.0 event",
        "Publish with content type application/cloudevents+json, or with ce- headers; see contracts/schemas.",
    ),
    Reason.UNKNOWN_TYPE: About.of(
        _P,
        "The event's type is not known to this worker",
        "Correct the type in the publisher, or update the worker.",
    ),
    Reason.INVALID_DATA: About.of(
        _P,
        "The event's data does not match its contract",
        "Correct the named fields in the publisher; see contracts/schemas.",
    ),
    Reason.TEMPLATE: About.of(
        _P,
        "The mail could not be rendered",
        "Correct the named template; then send these again.",
        "NOTIFY_TEMPLATES_DIR",
    ),
    Reason.ATTACHMENT_REFUSED: About.of(
        _P,
        "An attachment is not allowed or not what the event says",
        "Send the file inline (contentBase64), and check its size and sha256.",
    ),
    Reason.DELIVERY_LIMIT: About.of(
        _P,
        "The broker gave up: the event was handed out too often without being settled",
        "See the worker's log for what ended it while this event was in work; then send it again.",
    ),
    Reason.UNEXPECTED: About.of(
        _P,
        "The worker met an error it does not know",
        "This is a bug: report it with the detail and the worker's log.",
    ),
    Reason.RECIPIENT_REFUSED: About.of(
        _R,
        "The mail server refused the recipient",
        "Correct the address in the CMS; the detail has the server's reply.",
    ),
    Reason.MESSAGE_REFUSED: About.of(
        _R,
        "The mail server refused the message",
        "See the server's reply in the detail.",
    ),
    Reason.MESSAGE_TOO_LARGE: About.of(
        _R,
        "The message is larger than the mail server accepts",
        "Send fewer or smaller attachments, or raise the server's limit.",
    ),
    Reason.ADDRESS_UNSUPPORTED: About.of(
        _R,
        "The mail server does not support this address",
        "The part before the @ is not plain ASCII and the server offers no SMTPUTF8: use another address.",
    ),
    Reason.EXPIRED: About.of(
        DeadClass.EXPIRED,
        "The event expired before its mail could be sent",
        "Nothing was sent. For a password reset, let the person ask for a new link.",
    ),
    Reason.SMTP_UNREACHABLE: About.of(
        _X,
        error_texts.CONNECTION_FAILS,
        "Check EmailSMTPHost, EmailSmtpPort and the firewall; then send these again.",
        "EmailSMTPHost",
        *_ENCRYPTION,
    ),
    Reason.SMTP_BUSY: About.of(
        _X,
        "The mail server was busy every time",
        "When the server is well again, send these again.",
    ),
    Reason.SMTP_THROTTLED: About.of(
        _X,
        "The mail server limited the rate every time",
        "Lower NOTIFY_SMTP_MAX_SESSIONS or NOTIFY_SMTP_MESSAGES_PER_MINUTE; then send these again.",
        "NOTIFY_SMTP_MAX_SESSIONS",
        "NOTIFY_SMTP_MESSAGES_PER_MINUTE",
    ),
    Reason.SMTP_MAILBOX_UNAVAILABLE: About.of(
        _X,
        "The recipient's mailbox was unavailable every time",
        "Check the address; then send these again.",
    ),
    Reason.TOKEN_UNAVAILABLE: About.of(
        _X,
        "The identity provider gave no token every time",
        "Check that the token endpoint can be reached from here; then send these again.",
        "EmailSmtpOAuth2AzureTenantId",
        "EmailSmtpOAuth2TokenEndpoint",
    ),
    Reason.ATTACHMENT_UNAVAILABLE: About.of(
        _X,
        "An attachment could not be fetched every time",
        "Check that the file can be reached from here; then send these again.",
    ),
}
"""Every code -> what is said of it. Sentences the guide has are the guide's, letter for letter."""


def header_name(field: str) -> str:
    """The message header that carries a field of `DeadLetter`."""
    return HEADER_PREFIX + {"dead_class": "class"}.get(field, field).replace("_", "-")


class DeadLetter(BaseModel):
    """What a dead letter's `notify-` headers say. Empty values are left out of the headers.

    `redrives` counts how often it was sent again before it died this time, last by `redriven_by` with the
    remark `note`; `edited_from` is the dead id of the letter it was made of by an edit.
    """

    model_config = ConfigDict(
        frozen=True, alias_generator=header_name, validate_by_name=True, validate_by_alias=True
    )

    dead_id: str
    dead_class: DeadClass
    code: Reason
    text: str
    hint: str
    setting: str = ""
    detail: str = ""
    fingerprint: str
    settings_rev: str = ""
    attempts: int = 0
    history: str = ""
    first_failed: str = ""
    died: str
    origin_queue: str
    origin_key: str = ""
    event_id: str = ""
    event_type: str = ""
    owed: str = ""
    worker: str
    attempt_traceparent: str = ""
    redrives: int = 0
    redriven_by: str = ""
    note: str = ""
    edited_from: str = ""

    def to_headers(self) -> dict[str, str | int]:
        """The message headers; what is long and not a documented sentence is cut to keep 32 KiB in all."""
        headers: dict[str, str | int] = self.model_dump(mode="json", by_alias=True)
        headers["notify-detail"] = _cut(self.detail, MAX_DETAIL_CHARACTERS)
        for field in _CUT_IN_THIS_ORDER:
            excess = _size(headers) - MAX_HEADER_BYTES
            if excess > 0:
                headers[header_name(field)] = _cut_bytes(str(headers[header_name(field)]), excess)
        if not self.redrives:
            del headers[header_name("redrives")]
        return {name: value for name, value in headers.items() if value != ""}

    @classmethod
    def from_headers(cls, headers: Mapping[str, Any]) -> Self:
        """The record that `to_headers` wrote. Raises pydantic's ValidationError for other headers."""
        return cls.model_validate(headers)


_CUT_IN_THIS_ORDER: Final = ("history", "owed", "event_id", "event_type", "origin_key", "detail")


def fingerprint(reason: Reason, lane: str) -> str:
    """The group a dead letter belongs to: 12 hex digits of class, code and lane."""
    cause = f"{ABOUT[reason].dead_class}\0{reason}\0{lane}"
    return hashlib.sha256(cause.encode()).hexdigest()[:12]


def rfc3339(moment: datetime) -> str:
    """`moment`, aware, as RFC 3339 in UTC with milliseconds."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # the first or last day of the calendar has no such time in UTC
        return moment.isoformat(timespec="milliseconds")
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _size(headers: Mapping[str, str | int]) -> int:
    return sum(len(name.encode()) + len(str(value).encode()) + 6 for name, value in headers.items())


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + CUT


def _cut_bytes(text: str, excess: int) -> str:
    kept = len(text.encode()) - excess - len(CUT.encode())
    return text.encode()[:kept].decode(errors="ignore") + CUT if kept > 0 else ""
