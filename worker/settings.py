"""What the worker is told: an environment and perhaps a file, parsed once into frozen values.

The environment beats the file, the file beats the documented default. Every fault is reported at once, with
its setting's name; none repeats a secret. What the twelve SMTP settings mean together is not judged here: a
combination that cannot send is a dead letter's reason, not a fault of parsing.
"""

import difflib
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from contracts.smtp_settings import SMTP_SETTING_NAMES, SmtpSettings
from worker.settings_file import Entry, decoded, entries, trimmed
from worker.worker_settings import EXPECTED, PREFIX, WorkerSettings

__all__ = [
    "Row",
    "Settings",
    "SettingsError",
    "Source",
    "WorkerSettings",
    "as_started",
    "changed_names",
    "load",
    "rows",
    "settings_revision",
]

SETTINGS_FILE: Final = "NOTIFY_SETTINGS_FILE"
MASK: Final = "************"
OFFICE365_HOST: Final = "smtp.office365.com"

_FIELDS: Final = {
    **SmtpSettings.model_fields,
    **{str(field.alias): field for field in WorkerSettings.model_fields.values()},
}
"""Name of each setting, in documented order -> its field."""

_DECIDES_SENDING: Final = frozenset(SMTP_SETTING_NAMES) | {
    "NOTIFY_DEFAULT_FROM",
    "NOTIFY_SMTP_MAX_SESSIONS",
    "NOTIFY_SMTP_MESSAGES_PER_MINUTE",
    "NOTIFY_SMTP_CA_FILE",
    "NOTIFY_SMTP_TIMEOUT_SECONDS",
    "NOTIFY_ENTRA_AUTHORITY",
}
FIXED: Final = ("NOTIFY_BROKER_URL", "NOTIFY_PREFIX", "NOTIFY_HEALTH_ADDRESS")
"""Names of the settings that cannot change while the worker runs: they say where it works, not how."""

_NOT_ECHOED: Final = frozenset({"NOTIFY_BROKER_URL", "NOTIFY_DEFAULT_FROM"})
_NOT_OURS: Final = frozenset({"NOTIFY_SOCKET"})  # systemd sets it for services of type notify
_BOOLEANS: Final = {"true": True, "false": False}
_WHOLE_NUMBER = re.compile("[0-9]{1,9}")
_PLACEHOLDER = re.compile("<[^<>]*>")
_LONGEST_ECHO: Final = 60
_UNLIKE_ANY: Final = "unknown setting; the command `notify-worker settings` lists their names"


class SettingsError(Exception):
    """The settings cannot be read as they are. `faults` are sentences, each with its setting's name."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True)
class Settings:
    """Everything the worker is told.

    `sources` says where each setting's value is from: `environment`, `file:<line>` or `default`. `warnings` are
    sentences about names in the environment that look like settings and are none.
    """

    smtp: SmtpSettings
    worker: WorkerSettings
    sources: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def max_sessions(self) -> int:
        """SMTP sessions at a time for each login: as set, or the default for this host."""
        return self.worker.smtp_max_sessions or (3 if self._at_office365 else 8)

    @property
    def messages_per_minute(self) -> int | None:
        """Mails a minute for each login: as set, or the default for this host; None is no limit."""
        return self.worker.smtp_messages_per_minute or (30 if self._at_office365 else None)

    @property
    def _at_office365(self) -> bool:
        return self.smtp.EmailSMTPHost.rstrip(".").lower() == OFFICE365_HOST


@dataclass(frozen=True, slots=True)
class Source:
    """Where the settings are from: an environment, and the file given, which beats the one that it names."""

    environ: Mapping[str, str]
    given: Path | None = None

    @property
    def file(self) -> Path | None:
        """The settings file, if there is one."""
        named = trimmed(self.environ.get(SETTINGS_FILE, ""))
        return self.given or (Path(named) if named else None)

    def load(self) -> Settings:
        """The settings as they are now. Raises SettingsError."""
        return load(self.environ, self.given)


@dataclass(frozen=True, slots=True)
class Row:
    """A setting as people may see it: secrets are masked, and `value` is empty where there is none."""

    name: str
    value: str
    source: str
    secret: bool
    description: str


@dataclass(frozen=True, slots=True)
class _Given:
    value: str
    source: str
    place: str = ""


class _Values(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    smtp: SmtpSettings
    worker: WorkerSettings


def load(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """The settings in `environ` and in `file`, or else in the file that `NOTIFY_SETTINGS_FILE` names.

    Raises SettingsError with every fault of both.
    """
    path = Source(environ, file).file
    lines, unreadable = _read(path) if path else ((), ())
    given = _from_file(lines, path) | _from_environment(environ)
    faults = (*unreadable, *_file_faults(lines, path), *_environment_faults(environ), *_value_faults(given))
    try:
        values = _Values.model_validate(_python_values(given), strict=True)
    except ValidationError as error:
        raise SettingsError(*faults, *_sentences(error, given)) from None
    if faults:
        raise SettingsError(*faults)
    sources = {name: given[name].source if name in given else "default" for name in _FIELDS}
    return Settings(values.smtp, values.worker, MappingProxyType(sources), tuple(_warnings(environ)))


def rows(settings: Settings) -> list[Row]:
    """Every setting with its effective value, the twelve of the guide first."""
    values = _effective(settings)
    return [
        Row(
            name=name,
            value=_shown(name, values[name]),
            source=settings.sources[name],
            secret=isinstance(values[name], SecretStr),
            description=field.description or "",
        )
        for name, field in _FIELDS.items()
    ]


def changed_names(before: Settings, after: Settings) -> list[str]:
    """Names of the settings whose effective values differ, in documented order."""
    old, new = _effective(before), _effective(after)
    return [name for name in _FIELDS if old[name] != new[name]]


def as_started(settings: Settings, started: Settings) -> Settings:
    """`settings`, with those of `started` in place of what cannot change while the worker runs."""
    fields = {name.removeprefix(PREFIX).lower() for name in FIXED}
    kept = {field: getattr(started.worker, field) for field in fields}
    return replace(settings, worker=settings.worker.model_copy(update=kept))


def settings_revision(settings: Settings) -> str:
    """12 hex digits that change with any setting that decides whether a mail can be sent, secrets included.

    It stands in dead letters, so it is made slowly (scrypt, 16 MiB, some 50 ms): it tells that a password was
    changed, and is of little use for guessing it.
    """
    values = [(name, _plain(value)) for name, value in _effective(settings).items() if name in _DECIDES_SENDING]
    digest = hashlib.scrypt(
        json.dumps(values).encode(), salt=b"notify-worker settings revision", n=2**14, r=8, p=1, dklen=6
    )
    return digest.hex()


def _read(path: Path) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    try:
        return tuple(entries(decoded(path.read_bytes()))), ()
    except OSError as error:
        return (), (f"settings file {path}: {error.strerror}",)
    except ValueError as error:
        return (), (f"settings file {path}: {error}",)


def _from_file(lines: Iterable[Entry], path: Path | None) -> dict[str, _Given]:
    return {
        entry.name: _Given(_literal(entry.value), f"file:{entry.line}", f" ({path}, line {entry.line})")
        for entry in lines
        if entry.name in _FIELDS
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    return {name: _Given(_literal(environ[name]), "environment") for name in _FIELDS if name in environ}


def _literal(text: str) -> str:
    value = trimmed(text)
    return "" if value == "(empty)" else value


def _file_faults(lines: Iterable[Entry], path: Path | None) -> Iterator[str]:
    seen: dict[str, list[str]] = defaultdict(list)
    for entry in lines:
        seen[entry.name].append(str(entry.line))
        if entry.name not in _FIELDS:
            yield f"{_misnamed(entry.name)} ({path}, line {entry.line})"
    for name in _FIELDS:
        if len(seen[name]) > 1:
            yield f"{name}: set more than once ({path}, lines {', '.join(seen[name])})"


def _environment_faults(environ: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environ.keys() - _FIELDS.keys()):
        if name.lower().startswith("emailsmtp"):
            yield _misnamed(name)


def _warnings(environ: Mapping[str, str]) -> Iterator[str]:
    # Not a fault: Kubernetes puts variables for each of its services into every pod.
    for name in sorted(environ.keys() - _FIELDS.keys() - _NOT_OURS - {SETTINGS_FILE}):
        if name.upper().startswith(PREFIX):
            yield f"{_misnamed(name)} It is ignored."


def _misnamed(name: str) -> str:
    if not name:
        return 'not a setting: write "Name = value", or begin the line with # for a comment'
    if name == SETTINGS_FILE:
        return f"{name}: can only be set in the environment"
    nearest = _nearest(name)
    # A name like none of ours may be the second line of a secret that was cut in two: it is not repeated.
    return f"{_printable(name)}: unknown setting; did you mean {nearest}?" if nearest else _UNLIKE_ANY


def _nearest(name: str) -> str | None:
    candidates = {known.lower(): known for known in _FIELDS}
    folded = name[:_LONGEST_ECHO].lower()
    for prefix in ("emailsmtp", PREFIX.lower()):
        if folded.startswith(prefix):
            family = [known for known in candidates if known.startswith(prefix)]
            return candidates[difflib.get_close_matches(folded, family, n=1, cutoff=0)[0]]
    return next((candidates[known] for known in difflib.get_close_matches(folded, candidates, n=1)), None)


def _value_faults(given: Mapping[str, _Given]) -> Iterator[str]:
    for name in _FIELDS:
        if name in given and (unusable := _unusable(given[name].value)):
            yield f"{name}: {unusable}{given[name].place}"


def _unusable(value: str) -> str | None:
    if _PLACEHOLDER.fullmatch(value):
        return "still a placeholder; put your own value in its place, without angle brackets"
    try:
        value.encode()
    except UnicodeEncodeError:  # how Python shows bytes of the environment that are no text
        return "not UTF-8 text"
    return None


def _python_values(given: Mapping[str, _Given]) -> dict[str, dict[str, object]]:
    values = {
        name: _python(name, value.value)
        for name, value in given.items()
        if (value.value or _may_be_empty(name)) and not _unusable(value.value)
    }
    smtp = {name: values.pop(name) for name in SMTP_SETTING_NAMES if name in values}
    return {"smtp": smtp, "worker": values}


def _python(name: str, text: str) -> object:
    """`text` as the setting's type, or as it is where it is no such thing: the model refuses it then."""
    types = _types(name)
    if not text and NoneType in types:
        return None
    if bool in types:
        return _BOOLEANS.get(text.lower(), text)
    if int in types and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return Path(text) if Path in types else text


def _may_be_empty(name: str) -> bool:
    """Whether empty is a value of its own; else it means the documented default."""
    types = _types(name)
    return NoneType in types or (name in SMTP_SETTING_NAMES and not {int, bool} & types)


def _types(name: str) -> set[Any]:
    annotation = _FIELDS[name].annotation
    return set(get_args(annotation)) or {annotation}


def _sentences(error: ValidationError, given: Mapping[str, _Given]) -> Iterator[str]:
    for name in dict.fromkeys(str(fault["loc"][1]) for fault in error.errors(include_input=False)):
        value = "the value" if name in _NOT_ECHOED else f'"{_printable(given[name].value)}"'
        yield f"{name}: {value} is not {EXPECTED.get(name, 'true or false')}{given[name].place}"


def _printable(text: str) -> str:
    shown = "".join(character if character.isprintable() else "?" for character in text[:_LONGEST_ECHO])
    return f"{shown}…" if len(text) > _LONGEST_ECHO else shown


def _effective(settings: Settings) -> dict[str, Any]:
    return {
        **settings.smtp.model_dump(),
        **settings.worker.model_dump(by_alias=True),
        "NOTIFY_SMTP_MAX_SESSIONS": settings.max_sessions,
        "NOTIFY_SMTP_MESSAGES_PER_MINUTE": settings.messages_per_minute,
    }


def _shown(name: str, value: Any) -> str:
    if name == "NOTIFY_BROKER_URL":
        return _masked(value.get_secret_value())
    return MASK if isinstance(value, SecretStr) and value else _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str("" if value is None else value)


def _masked(url: str) -> str:
    parts = urlsplit(url)
    login, _, server = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    return parts._replace(netloc=f"{user}:{MASK}@{server}").geturl() if password else url
