"""The worker's own settings, beside the twelve of the guide: names, types, defaults and units."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from contracts.events import Mailbox

PREFIX: Final = "NOTIFY_"
LARGEST_NUMBER: Final = 999_999_999
PORTS: Final = 65536

_TAG: Final = "[a-z]{2,8}(?:-[a-z0-9]{1,8})*"
_TWO_LANGUAGES: Final = re.compile(rf"({_TAG})\s*,\s*(?!\1$)({_TAG})", re.IGNORECASE)


def _broker_url(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    # An @ behind the host is a password whose /, ? or # was not percent-encoded: its head would pass for a
    # port, and its tail would be shown.
    stray = "@" in parts.path + parts.query + parts.fragment
    if parts.scheme not in {"amqp", "amqps"} or not parts.hostname or parts.port == 0 or stray:
        raise ValueError
    return url


def _authority(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError
    return url.rstrip("/")


def _certificates(path: Path | None) -> Path | None:
    try:
        if path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise ValueError from error
    return path


def _folder(path: Path | None) -> Path | None:
    try:
        missing = path is not None and not path.is_dir()
    except OSError as error:  # a name that is too long, or a folder above it that we may not look into
        raise ValueError from error
    if missing:
        raise ValueError
    return path


def _two_languages(text: str | None) -> str | None:
    pair = _TWO_LANGUAGES.fullmatch(text or "")
    if text and not pair:
        raise ValueError
    return ",".join(pair.groups()) if pair else None


def _health_address(text: str | None) -> str | None:
    if text:
        host_and_port(text)
    return text


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of `host:port`, an IPv6 address without its brackets. Raises ValueError for anything else."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]") if ":" in host else host
    if not host or (":" in host) != host.startswith("[") or not port.isdecimal() or not 0 < int(port) < PORTS:
        raise ValueError
    return bare, int(port)


class WorkerSettings(BaseModel):
    """The worker's own settings. In the environment and in the file a field has its alias, `NOTIFY_…`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=lambda field: PREFIX + field.upper(),
        validate_by_name=True,
    )

    broker_url: Annotated[
        SecretStr,
        AfterValidator(_broker_url),
        Field(description="RabbitMQ, as an amqp:// or amqps:// URL with user, password and virtual host."),
    ] = SecretStr("amqp://guest:guest@localhost:5672/")
    prefix: Annotated[
        str,
        Field(pattern="^[A-Za-z0-9._-]{1,100}$", description="Begins the name of every exchange and queue."),
    ] = "notify"
    default_from: Annotated[
        Mailbox | None,
        Field(description="From address of mails whose event names none. Set but empty: there is none."),
    ] = "no-reply@contensis.com"
    smtp_max_sessions: Annotated[
        int | None,
        Field(
            ge=1,
            le=LARGEST_NUMBER,
            description="SMTP sessions open at a time for each login. Default: 8; 3 at smtp.office365.com.",
        ),
    ] = None
    smtp_messages_per_minute: Annotated[
        int | None,
        Field(
            ge=1,
            le=LARGEST_NUMBER,
            description="Mails sent in a minute for each login. Default: no limit; 30 at smtp.office365.com.",
        ),
    ] = None
    smtp_ca_file: Annotated[
        Path | None,
        AfterValidator(_certificates),
        Field(
            description="File of PEM certificates to trust for SMTP, beside the system's, such as those of "
            "an internal certificate authority."
        ),
    ] = None
    smtp_timeout_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=LARGEST_NUMBER,
            description="Seconds to wait for each reply of the SMTP server; for the reply to a whole message "
            "it is always 600.",
        ),
    ] = 30
    templates_dir: Annotated[
        Path | None,
        AfterValidator(_folder),
        Field(description="Folder of templates that replace those of the worker."),
    ] = None
    templates_fallback: Annotated[
        bool,
        Field(
            description="Whether the worker starts although a file in the folder of templates is no good, with "
            "its own in place of that."
        ),
    ] = False
    bilingual: Annotated[
        str | None,
        AfterValidator(_two_languages),
        Field(description="Two languages, such as cy,en-GB: mail in one of them comes in both, in this order."),
    ] = None
    entra_authority: Annotated[
        str,
        AfterValidator(_authority),
        Field(description="Where Microsoft Entra ID gives tokens; national clouds have their own."),
    ] = "https://login.microsoftonline.com"
    retry_give_up_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=LARGEST_NUMBER,
            description="Seconds from a mail's first attempt after which it is no longer retried.",
        ),
    ] = 86_400
    auth_grace_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=LARGEST_NUMBER,
            description="Seconds for which mail waits when the server refuses an OAuth2 login: new permissions "
            "take 15 to 30 minutes to spread.",
        ),
    ] = 1_800
    drain_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=LARGEST_NUMBER,
            description="Seconds that mails in work have to finish when the worker stops.",
        ),
    ] = 25
    redrive_after_fix: Annotated[
        bool,
        Field(
            description="Whether dead letters of the class config are sent again, a few of each cause first, "
            "once changed settings are in force and the mail server lets them in."
        ),
    ] = False
    health_address: Annotated[
        str | None,
        AfterValidator(_health_address),
        Field(description="Where probes and Prometheus ask, as host:port. Set but empty: nowhere."),
    ] = "127.0.0.1:8080"

    @property
    def languages_together(self) -> tuple[str, ...]:
        """Those of NOTIFY_BILINGUAL."""
        return tuple(self.bilingual.split(",")) if self.bilingual else ()


_POSITIVE: Final = f"a whole number between 1 and {LARGEST_NUMBER}"
_NOT_NEGATIVE: Final = f"a whole number between 0 and {LARGEST_NUMBER}"
EXPECTED: Final = {
    "EmailSmtpPort": "a port number between 1 and 65535",
    "NOTIFY_BROKER_URL": "an amqp:// or amqps:// URL with a host and a percent-encoded password",
    "NOTIFY_PREFIX": "made of 1 to 100 letters, digits, dots, hyphens and underscores",
    "NOTIFY_DEFAULT_FROM": "one mailbox: an address, or a name followed by <address>",
    "NOTIFY_SMTP_MAX_SESSIONS": _POSITIVE,
    "NOTIFY_SMTP_MESSAGES_PER_MINUTE": _POSITIVE,
    "NOTIFY_SMTP_CA_FILE": "a readable file of PEM certificates",
    "NOTIFY_SMTP_TIMEOUT_SECONDS": _POSITIVE,
    "NOTIFY_TEMPLATES_DIR": "an existing folder",
    "NOTIFY_BILINGUAL": "two languages with a comma between them: cy,en-GB",
    "NOTIFY_ENTRA_AUTHORITY": "an https:// URL without user and query",
    "NOTIFY_RETRY_GIVE_UP_SECONDS": _NOT_NEGATIVE,
    "NOTIFY_AUTH_GRACE_SECONDS": _NOT_NEGATIVE,
    "NOTIFY_DRAIN_SECONDS": _NOT_NEGATIVE,
    "NOTIFY_HEALTH_ADDRESS": "host:port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080",
}
"""Name of a setting, `EmailSmtpPort` among them -> what its value has to be, as the end of a sentence."""
