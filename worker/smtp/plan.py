"""The twelve settings -> one connection plan: how they fit together, exactly as the vendor's guide says.

Pure: the same settings and From address give the same plan or the same fault.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from contracts.dead_letter import Reason
from contracts.smtp_settings import SmtpSettings
from worker.address import AddressError, parse_mailbox
from worker.errors import PermanentError

ENTRA_AUTHORITY: Final = "https://login.microsoftonline.com"
MICROSOFT_SCOPE: Final = "https://outlook.office365.com/.default"
MICROSOFT_HOST: Final = "smtp.office365.com"


class ConfigurationError(PermanentError):
    """Settings with which the guide says that sending fails."""


class Encryption(StrEnum):
    """The guide's encryption modes."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


USUAL_ENCRYPTION: Final = {25: Encryption.NONE, 465: Encryption.IMPLICIT, 587: Encryption.STARTTLS}


@dataclass(frozen=True, slots=True)
class Anonymous:
    """No authentication: a relay that trusts this host."""


@dataclass(frozen=True, slots=True)
class Basic:
    """User name and password."""

    username: str
    password: SecretStr


@dataclass(frozen=True, slots=True)
class OAuth2:
    """A token by the client credentials grant, presented for the mailbox `username`.

    An empty `scope` is left out of the token request.
    """

    username: str
    client_id: str
    client_secret: SecretStr
    token_endpoint: str
    scope: str


Authentication = Anonymous | Basic | OAuth2


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """Where to connect, and how. `host` is a name, or an IPv4 or IPv6 address without brackets."""

    host: str
    port: int
    encryption: Encryption
    authentication: Authentication


def plan(
    settings: SmtpSettings, sender: str | None, *, entra_authority: str = ENTRA_AUTHORITY
) -> ConnectionPlan:
    """The plan for a mail from the address `sender`. Raises the first of `faults`, a ConfigurationError."""
    for fault in faults(settings, sender):
        raise fault
    return ConnectionPlan(
        host=_host(settings),
        port=settings.EmailSmtpPort,
        encryption=_encryption(settings),
        authentication=_authentication(settings, sender, entra_authority),
    )


def faults(settings: SmtpSettings, sender: str | None) -> Iterator[ConfigurationError]:
    """Every fault, in a fixed order: OAuth2 without TLS, OAuth2's other settings, the host, then the sender.

    So what the settings decide for every mail is said before what a single mail lacks.
    """
    if settings.EmailSmtpUseOAuth2:
        yield from _oauth2_faults(settings)
    if not _host(settings):
        yield ConfigurationError(Reason.SMTP_HOST_MISSING)
    if settings.EmailSmtpUseOAuth2 and not _mailbox(settings, sender):
        yield ConfigurationError(Reason.OAUTH2_USERNAME_UNKNOWN)
    if not settings.EmailSmtpUseOAuth2 and not _bare(sender):
        yield ConfigurationError(Reason.SENDER_MISSING)


def warnings(settings: SmtpSettings) -> tuple[str, ...]:
    """What sending survives but an administrator should know: whole sentences that name the settings."""
    return tuple(_warnings(settings))


def _oauth2_faults(settings: SmtpSettings) -> Iterator[ConfigurationError]:
    tenant = _tenant(settings)
    endpoint = settings.EmailSmtpOAuth2TokenEndpoint.strip()
    if _encryption(settings) is Encryption.NONE:
        yield ConfigurationError(Reason.OAUTH2_REQUIRES_TLS)
    if not tenant and not endpoint:
        yield ConfigurationError(Reason.OAUTH2_NOT_CONFIGURED)
    if not tenant and endpoint and not _is_https(endpoint):
        yield ConfigurationError(Reason.OAUTH2_ENDPOINT_NOT_HTTPS)
    if missing := _missing_of_client(settings):
        yield ConfigurationError(Reason.OAUTH2_CLIENT_MISSING, settings=missing)


def _missing_of_client(settings: SmtpSettings) -> tuple[str, ...]:
    client = {
        "EmailSmtpOAuth2ClientId": settings.EmailSmtpOAuth2ClientId,
        "EmailSmtpOAuth2ClientSecret": settings.EmailSmtpOAuth2ClientSecret.get_secret_value(),
    }
    return tuple(name for name, value in client.items() if not value)


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


def _host(settings: SmtpSettings) -> str:
    """The host without the brackets that people write around IPv6 addresses."""
    return settings.EmailSMTPHost.strip().removeprefix("[").removesuffix("]").rstrip(".")


def _encryption(settings: SmtpSettings) -> Encryption:
    if settings.EmailSmtpUseImplicitSSL:
        return Encryption.IMPLICIT
    return Encryption.STARTTLS if settings.EmailSmtpUseSSL else Encryption.NONE


def _authentication(settings: SmtpSettings, sender: str | None, entra_authority: str) -> Authentication:
    if settings.EmailSmtpUseOAuth2:
        return _oauth2(settings, sender, entra_authority)
    if settings.EmailSmtpUsername and settings.EmailSmtpPassword.get_secret_value():
        return Basic(settings.EmailSmtpUsername, settings.EmailSmtpPassword)
    return Anonymous()


def _oauth2(settings: SmtpSettings, sender: str | None, entra_authority: str) -> OAuth2:
    tenant = _tenant(settings)
    entra = f"{entra_authority.rstrip('/')}/{quote(tenant, safe='')}/oauth2/v2.0/token"
    return OAuth2(
        username=_mailbox(settings, sender),
        client_id=settings.EmailSmtpOAuth2ClientId,
        client_secret=settings.EmailSmtpOAuth2ClientSecret,
        token_endpoint=entra if tenant else settings.EmailSmtpOAuth2TokenEndpoint.strip(),
        scope=settings.EmailSmtpOAuth2Scope.strip() or (MICROSOFT_SCOPE if tenant else ""),
    )


def _tenant(settings: SmtpSettings) -> str:
    return settings.EmailSmtpOAuth2AzureTenantId.strip()


def _mailbox(settings: SmtpSettings, sender: str | None) -> str:
    """The guide's "OAuth2 username", empty when it cannot be determined."""
    return settings.EmailSmtpUsername or _bare(sender)


def _bare(sender: str | None) -> str:
    with suppress(AddressError):
        return parse_mailbox(sender or "").address
    return ""


def _warnings(settings: SmtpSettings) -> Iterator[str]:
    if settings.EmailSmtpUseOAuth2:
        yield from _oauth2_warnings(settings)
    else:
        yield from _basic_warnings(settings)
    usual = USUAL_ENCRYPTION.get(settings.EmailSmtpPort)
    if usual not in (None, _encryption(settings)):
        yield (
            "EmailSmtpPort does not match the encryption mode: use 465 with EmailSmtpUseImplicitSSL, "
            "587 with EmailSmtpUseSSL, 25 with neither, unless your server says otherwise."
        )


def _basic_warnings(settings: SmtpSettings) -> Iterator[str]:
    given = bool(settings.EmailSmtpUsername), bool(settings.EmailSmtpPassword.get_secret_value())
    if given in {(True, False), (False, True)}:
        yield (
            "Only one of EmailSmtpUsername and EmailSmtpPassword is set, so mail is sent anonymously: "
            "set both, or neither."
        )
    if all(given) and _encryption(settings) is Encryption.NONE:
        yield (
            "EmailSmtpUsername and EmailSmtpPassword are sent in plain text: "
            "set EmailSmtpUseSSL or EmailSmtpUseImplicitSSL to true."
        )
    if all(given) and _host(settings).lower() == MICROSOFT_HOST:
        yield (
            "Microsoft has retired basic authentication at smtp.office365.com: "
            "set EmailSmtpUseOAuth2 to true, with the tenant ID, client ID and client secret."
        )


def _oauth2_warnings(settings: SmtpSettings) -> Iterator[str]:
    if not _tenant(settings) and not settings.EmailSmtpOAuth2Scope.strip():
        yield "EmailSmtpOAuth2Scope is empty, which providers other than Microsoft 365 usually do not accept."
