"""Settings of any text at all: they are read, or every fault is a sentence, and no secret is ever shown."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.smtp_settings import SMTP_SETTING_NAMES
from worker.settings import SETTINGS_FILE, SettingsError, load, rows
from worker.worker_settings import PREFIX, WorkerSettings

SECRET: Final = "Kanarienvogel"
SECRET_NAMES: Final = ("EmailSmtpPassword", "EmailSmtpOAuth2ClientSecret", "NOTIFY_BROKER_URL")
NAMES: Final = (*SMTP_SETTING_NAMES, *(f"{PREFIX}{name.upper()}" for name in WorkerSettings.model_fields))
ODD_VALUES: Final = (
    *("", "(empty)", "<your value>", "true", "TRUE ", "yes", "\u2028", "\0", "\udcff\udcfe"),
    *("0", "-1", "465", "99999", "9" * 5_000, "١٢", "²", "1e3"),
    *("/nowhere", "/dev/null", "/", "x" * 300, "/" + "x" * 5_000, "/dev/null/x"),
    *("https://[", "https://host:port/", "https://user:word@host", "https://h\u2100st", "https://host"),
    *("amqp://[::1", "amqp://a:99999", "amqp://h\u2100/", "amqp://a:b@c:d", "amqp://host/%2f?heartbeat=x"),
    *("Name <a@example.org>", "a@b, c@d", "a@b\r\nBcc: c@d"),
)
"""What each kind of setting finds hard: other scripts' numbers, paths, broken URLs, bytes that are no text."""

_text = st.text(max_size=40)
_values = st.sampled_from(ODD_VALUES) | _text
_names = st.sampled_from(NAMES)
_misnamed = _names.flatmap(lambda name: st.sampled_from((name.upper(), name.lower(), name[:-1], f"{name}s")))
_secret_names = st.sampled_from(SECRET_NAMES).flatmap(
    lambda name: st.sampled_from((name, name.lower(), name[:-1]))
)
_set = st.dictionaries(_names, _values, max_size=6)
_also_set = st.dictionaries(_misnamed | _text, _values, max_size=2)
_lines = st.lists(st.tuples(_names | _misnamed | _text, _values).map(" = ".join) | _text, max_size=8)
_one_line = st.text(st.characters(exclude_characters="\r\n"), max_size=20)
_passwords = st.tuples(_one_line, st.just(SECRET), _one_line).map("".join)
_ends = st.sampled_from(("@host:5672/", "@host:", "@host:x", "@host:99999", "@", ""))
_secrets = _passwords | st.tuples(st.just("amqp://guest:"), _passwords, _ends).map("".join)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every example writes its settings file."""
    return tmp_path_factory.mktemp("settings") / "smtp.conf"


def faults_of(error: SettingsError) -> str:
    """The faults, which are sentences."""
    assert error.faults
    assert all(len(fault.split()) > 2 for fault in error.faults)
    return str(error)


def shown(environ: dict[str, str], file: Path | None) -> str:
    """All that people may see of these settings. Raises whatever `load` raises but SettingsError."""
    try:
        loaded = load(environ, file)
    except SettingsError as error:
        return faults_of(error)
    return "\n".join((*(row.value for row in rows(loaded)), *loaded.warnings, repr(loaded)))


@settings(max_examples=300)
@given(environ=_set, also=_also_set, lines=_lines, tail=st.binary(max_size=20))
def test_any_text_is_settings_or_faults(
    file: Path, environ: dict[str, str], also: dict[str, str], lines: list[str], tail: bytes
) -> None:
    """Never another exception, whatever the environment and the file hold."""
    file.write_bytes("\n".join(lines).encode(errors="surrogateescape") + tail)
    shown(environ | also, file)


@pytest.mark.parametrize("name", [*NAMES, SETTINGS_FILE])
def test_every_setting_takes_or_refuses_every_odd_value(name: str) -> None:
    """What is hard for one kind of setting is tried with all of them."""
    for value in ODD_VALUES:
        shown({name: value}, None)


@settings(max_examples=300)
@given(name=_secret_names, secret=_secrets, in_file=st.booleans(), others=_set)
def test_no_secret_is_shown_whatever_else_is_wrong(
    file: Path, name: str, secret: str, *, in_file: bool, others: dict[str, str]
) -> None:
    """Not where it is right, nor where it is faulty, nor where the name is written wrongly."""
    file.write_text(f"{name} = {secret}\n" if in_file else "", encoding="utf-8", errors="replace")
    environ = others if in_file else others | {name: secret}
    assert SECRET not in shown(environ, file)
