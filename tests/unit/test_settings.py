"""Settings: the environment and a file -> frozen values, or every fault at once."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.smtp_settings import SMTP_SETTING_NAMES, SmtpSettings
from worker.settings import MASK, SettingsError, WorkerSettings, load, rows, settings_revision
from worker.settings_file import trimmed

DATA = Path(__file__).parent / "data"
PORT = "is not a port number between 1 and 65535"
PREFIX = "is not made of 1 to 100 letters, digits, dots, hyphens and underscores"
POSITIVE = "is not a whole number between 1 and 999999999"
NOT_NEGATIVE = "is not a whole number between 0 and 999999999"
MAILBOX = "is not one mailbox: an address, or a name followed by <address>"
ENDPOINT = "is not host:port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"
PAIR = "is not two languages with a comma between them: cy,en-GB"
AUTHORITY = "is not an https:// URL without user and query"
PLACEHOLDER = "still a placeholder; put your own value in its place, without angle brackets"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its settings file."""
    return tmp_path / "smtp.conf"


def faults(environ: Mapping[str, str], file: Path | None = None) -> tuple[str, ...]:
    """What `load` says is wrong."""
    with pytest.raises(SettingsError) as caught:
        load(environ, file)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def file_faults(file: Path, text: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """What `load` says is wrong with `text` as a file, its path shortened."""
    file.write_text(text, encoding="utf-8", newline="")
    return tuple(fault.replace(str(file), "smtp.conf") for fault in faults(environ or {}, file))


def test_without_any_setting_the_guide_s_defaults_hold() -> None:
    """The documented defaults, twelve and own, from an empty environment."""
    loaded = load({})
    assert (loaded.smtp, loaded.worker) == (SmtpSettings(), WorkerSettings())
    assert loaded.smtp.EmailSMTPHost == "smtp.zengenti.com"
    assert loaded.smtp.EmailSmtpPort == 25
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.warnings == ()


def test_the_worker_s_own_defaults_are_those_documented() -> None:
    """Operators rely on these names and values."""
    shown = {row.name: row.value for row in rows(load({})) if row.name not in SMTP_SETTING_NAMES}
    assert shown == {
        "NOTIFY_BROKER_URL": "amqp://guest:************@localhost:5672/",
        "NOTIFY_PREFIX": "notify",
        "NOTIFY_DEFAULT_FROM": "no-reply@contensis.com",
        "NOTIFY_SMTP_MAX_SESSIONS": "8",
        "NOTIFY_SMTP_MESSAGES_PER_MINUTE": "",
        "NOTIFY_SMTP_CA_FILE": "",
        "NOTIFY_SMTP_TIMEOUT_SECONDS": "30",
        "NOTIFY_TEMPLATES_DIR": "",
        "NOTIFY_TEMPLATES_FALLBACK": "false",
        "NOTIFY_BILINGUAL": "",
        "NOTIFY_ENTRA_AUTHORITY": "https://login.microsoftonline.com",
        "NOTIFY_RETRY_GIVE_UP_SECONDS": "86400",
        "NOTIFY_AUTH_GRACE_SECONDS": "1800",
        "NOTIFY_DRAIN_SECONDS": "25",
        "NOTIFY_REDRIVE_AFTER_FIX": "false",
        "NOTIFY_HEALTH_ADDRESS": "127.0.0.1:8080",
    }


GUIDE_BLOCKS: Mapping[str, tuple[dict[str, str], dict[str, Any]]] = {
    "microsoft-365-oauth2.txt": (
        {
            "EmailSmtpOAuth2AzureTenantId": "11111111-2222-3333-4444-555555555555",
            "EmailSmtpOAuth2ClientId": "66666666-7777-8888-9999-000000000000",
            "EmailSmtpOAuth2ClientSecret": "Zz8Q~a=b#c'd\"e",
        },
        {
            "EmailSMTPHost": "smtp.office365.com",
            "EmailSmtpPort": 587,
            "EmailSmtpUseSSL": True,
            "EmailSmtpUseOAuth2": True,
        },
    ),
    "relay-starttls.txt": (
        {"EmailSmtpUsername": "cms", "EmailSmtpPassword": "p#ss = word"},
        {"EmailSMTPHost": "smtp.example.com", "EmailSmtpPort": 587, "EmailSmtpUseSSL": True},
    ),
    "relay-implicit-ssl.txt": (
        {"EmailSmtpUsername": "cms", "EmailSmtpPassword": "'quoted'"},
        {"EmailSMTPHost": "smtp.example.com", "EmailSmtpPort": 465, "EmailSmtpUseImplicitSSL": True},
    ),
    "internal-relay.txt": ({}, {"EmailSMTPHost": "mailrelay.internal.example.com"}),
}
"""File of each of the guide's "Common configurations" -> values for its placeholders, what it says itself."""

blocks = pytest.mark.parametrize("block", GUIDE_BLOCKS)


@blocks
def test_a_pasted_block_has_its_placeholders_as_its_only_faults(block: str) -> None:
    """A block of the guide, caption included, is a file as it stands; each placeholder is refused by name."""
    lines = (DATA / block).read_text("utf-8").splitlines()
    expected = tuple(
        f"{name}: {PLACEHOLDER} ({DATA / block}, line {number})"
        for number, line in enumerate(lines, start=1)
        for name in GUIDE_BLOCKS[block][0]
        if line.startswith(name)
    )
    assert len(expected) == len(GUIDE_BLOCKS[block][0])
    assert (faults({}, DATA / block) if expected else ()) == expected


@blocks
def test_a_block_filled_in_loads_to_its_values(block: str, file: Path) -> None:
    """With the placeholders replaced, every line of the block is in effect, and nothing else is."""
    filled, said = GUIDE_BLOCKS[block]
    lines = (DATA / block).read_text("utf-8").splitlines()
    file.write_text("\n".join(_filled(line, filled) for line in lines), "utf-8")
    assert load({}, file).smtp == SmtpSettings.model_validate({**filled, **said})


@blocks
def test_a_block_survives_a_browser_s_copy(block: str, file: Path) -> None:
    """Non-breaking spaces, a byte-order mark and CRLF change nothing."""
    filled, said = GUIDE_BLOCKS[block]
    lines = [_filled(line.replace(" =", "\u00a0="), filled) for line in _lines(block)]
    file.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    assert load({}, file).smtp == SmtpSettings.model_validate({**filled, **said})


@blocks
def test_a_placeholder_gives_way_to_the_environment(block: str) -> None:
    """A secret kept out of the file, as in Kubernetes, leaves the pasted block as it is."""
    filled, said = GUIDE_BLOCKS[block]
    assert load(filled, DATA / block).smtp == SmtpSettings.model_validate({**filled, **said})


def _lines(block: str) -> list[str]:
    return (DATA / block).read_text("utf-8").splitlines()


def _filled(line: str, values: Mapping[str, str]) -> str:
    name = trimmed(line.partition("=")[0])
    return f"{line.partition('=')[0]}= {values[name]}" if name in values else line


def test_the_environment_beats_the_file_and_the_file_the_default(file: Path) -> None:
    """Each setting is decided on its own, and its source is told."""
    file.write_text("# mail\nEmailSMTPHost = a.example\nEmailSmtpPort = 587\nNOTIFY_PREFIX = cms\n", "utf-8")
    loaded = load({"EmailSMTPHost": "b.example"}, file)
    assert (loaded.smtp.EmailSMTPHost, loaded.smtp.EmailSmtpPort) == ("b.example", 587)
    assert loaded.worker.prefix == "cms"
    assert {name: source for name, source in loaded.sources.items() if source != "default"} == {
        "EmailSMTPHost": "environment",
        "EmailSmtpPort": "file:3",
        "NOTIFY_PREFIX": "file:4",
    }


def test_spacing_around_a_value_of_the_environment_is_dropped() -> None:
    """A mounted secret ends with a line end, a Windows file of variables with a carriage return."""
    smtp = load({"EmailSmtpPassword": " hunter2\n", "EmailSmtpPort": "587\r"}).smtp
    assert (smtp.EmailSmtpPassword.get_secret_value(), smtp.EmailSmtpPort) == ("hunter2", 587)


def test_the_environment_may_name_the_file(file: Path) -> None:
    """`NOTIFY_SETTINGS_FILE` is used where no file is passed; a file that is passed beats it."""
    file.write_text("EmailSmtpPort = 587", "utf-8")
    assert load({"NOTIFY_SETTINGS_FILE": f" {file} "}).smtp.EmailSmtpPort == 587
    assert load({"NOTIFY_SETTINGS_FILE": "/nowhere"}, file).smtp.EmailSmtpPort == 587
    assert load({"NOTIFY_SETTINGS_FILE": ""}).smtp.EmailSmtpPort == 25


@pytest.mark.parametrize("empty", ["", "  ", "(empty)", "\u00a0(empty) "])
def test_set_but_empty_is_empty_and_beats_the_file(empty: str, file: Path) -> None:
    """A text is then empty; port, booleans and numbers take their documented default."""
    file.write_text(
        "EmailSMTPHost = a.example\nEmailSmtpPort = 587\nEmailSmtpUseSSL = true\nEmailSmtpPassword = x\n"
        "NOTIFY_PREFIX = cms\nNOTIFY_SMTP_MAX_SESSIONS = 4\nNOTIFY_SMTP_TIMEOUT_SECONDS = 5\n",
        "utf-8",
    )
    loaded = load(dict.fromkeys(load({}).sources, empty), file)
    assert loaded.smtp == SmtpSettings(EmailSMTPHost="")
    assert loaded.worker == WorkerSettings(default_from=None, health_address=None)
    assert set(loaded.sources.values()) == {"environment"}


@pytest.mark.parametrize("empty", ["", "(empty)"])
def test_empty_in_the_file_is_empty(empty: str, file: Path) -> None:
    """`(empty)`, as the guide writes it, and nothing are the same."""
    file.write_text("\n".join(f"{name} = {empty}" for name in SMTP_SETTING_NAMES), "utf-8")
    assert load({}, file).smtp == SmtpSettings(EmailSMTPHost="")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("TRUE", True), ("True", True), ("false", False), ("FALSE", False)]
)
def test_a_boolean_is_true_or_false_in_any_case(text: str, value: bool) -> None:  # noqa: FBT001 - a table's column
    """The guide's words, however they are capitalised."""
    assert load({"EmailSmtpUseSSL": text}).smtp.EmailSmtpUseSSL is value


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("EmailSmtpPort", "abc", f'"abc" {PORT}'),
        ("EmailSmtpPort", "0", f'"0" {PORT}'),
        ("EmailSmtpPort", "65536", f'"65536" {PORT}'),
        ("EmailSmtpPort", "587.0", f'"587.0" {PORT}'),
        ("EmailSmtpPort", "-1", f'"-1" {PORT}'),
        ("EmailSmtpPort", "1_0", f'"1_0" {PORT}'),
        ("EmailSmtpPort", "\u0665\u0668\u0667", f'"\u0665\u0668\u0667" {PORT}'),
        ("EmailSmtpPort", "9" * 5000, f'"{"9" * 60}…" {PORT}'),
        ("EmailSmtpPort", "5\x1b[2J", f'"5?[2J" {PORT}'),
        ("EmailSmtpUseSSL", "yes", '"yes" is not true or false'),
        ("EmailSmtpUseImplicitSSL", "1", '"1" is not true or false'),
        ("EmailSmtpUseOAuth2", "on", '"on" is not true or false'),
        ("NOTIFY_PREFIX", "a b", f'"a b" {PREFIX}'),
        ("NOTIFY_TEMPLATES_FALLBACK", "yes", '"yes" is not true or false'),
        ("NOTIFY_BILINGUAL", "cy", f'"cy" {PAIR}'),
        ("NOTIFY_BILINGUAL", "cy,CY", f'"cy,CY" {PAIR}'),
        ("NOTIFY_BILINGUAL", "cy,en,fr", f'"cy,en,fr" {PAIR}'),
        ("NOTIFY_BILINGUAL", "Welsh and English", f'"Welsh and English" {PAIR}'),
        ("NOTIFY_SMTP_MAX_SESSIONS", "0", f'"0" {POSITIVE}'),
        ("NOTIFY_SMTP_MESSAGES_PER_MINUTE", "x", f'"x" {POSITIVE}'),
        ("NOTIFY_SMTP_TIMEOUT_SECONDS", "0", f'"0" {POSITIVE}'),
        ("NOTIFY_RETRY_GIVE_UP_SECONDS", "1h", f'"1h" {NOT_NEGATIVE}'),
        ("NOTIFY_DRAIN_SECONDS", "-5", f'"-5" {NOT_NEGATIVE}'),
        ("NOTIFY_HEALTH_ADDRESS", "8080", f'"8080" {ENDPOINT}'),
        ("NOTIFY_HEALTH_ADDRESS", ":8080", f'":8080" {ENDPOINT}'),
        ("NOTIFY_HEALTH_ADDRESS", "localhost:http", f'"localhost:http" {ENDPOINT}'),
        ("NOTIFY_HEALTH_ADDRESS", "localhost:65536", f'"localhost:65536" {ENDPOINT}'),
        ("NOTIFY_HEALTH_ADDRESS", "::1:8080", f'"::1:8080" {ENDPOINT}'),
        ("NOTIFY_TEMPLATES_DIR", "/no/where", '"/no/where" is not an existing folder'),
        ("NOTIFY_TEMPLATES_DIR", "x" * 300, f'"{"x" * 60}…" is not an existing folder'),
        ("NOTIFY_SMTP_CA_FILE", "/no/where", '"/no/where" is not a readable file of PEM certificates'),
        ("NOTIFY_SMTP_CA_FILE", "/", '"/" is not a readable file of PEM certificates'),
        ("NOTIFY_ENTRA_AUTHORITY", "http://a", f'"http://a" {AUTHORITY}'),
        ("NOTIFY_ENTRA_AUTHORITY", "https://[", f'"https://[" {AUTHORITY}'),
        ("NOTIFY_DEFAULT_FROM", "no-reply", f"the value {MAILBOX}"),
        ("EmailSmtpUsername", "\udcff", "not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_a_fault_that_says_what_is_expected(
    name: str, text: str, fault: str
) -> None:
    """The sentence names the setting, shows a value that is no secret, and says what it has to be."""
    assert faults({name: text}) == (f"{name}: {fault}",)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "localhost:5672",
        "amqp://",
        "amqp://:5672/",
        "amqp://cms:hunter2@host:0/",
        "amqp://cms:hunter2@host:99999/",
        "amqp://cms:hunter2@[::1/",
        "amqp://cms:hun/ter2@host/",
        "amqp://cms:12/hunter2@host/",
        "amqp://cms:12?hunter2@host/",
        "amqp://cms:12#hunter2@host/",
    ],
)
def test_a_broker_url_that_cannot_be_one_is_refused_without_showing_it(url: str) -> None:
    """Wrong scheme, no host, a port that is none, or a password that is not percent-encoded."""
    expected = "the value is not an amqp:// or amqps:// URL with a host and a percent-encoded password"
    assert faults({"NOTIFY_BROKER_URL": url}) == (f"NOTIFY_BROKER_URL: {expected}",)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://localhost", "amqp://localhost"),
        ("amqps://cms@broker.example:5671/cms", "amqps://cms@broker.example:5671/cms"),
        ("amqp://cms:@[::1]/", "amqp://cms:@[::1]/"),
        ("amqp://cms:h%2Fnter2@[::1]:5672/%2f", f"amqp://cms:{MASK}@[::1]:5672/%2f"),
        ("amqps://cms:a:b@host/?cafile=/ca.pem", f"amqps://cms:{MASK}@host/?cafile=/ca.pem"),
    ],
)
def test_a_broker_url_is_shown_with_its_password_masked(url: str, shown: str) -> None:
    """All but the password helps an operator to see where the worker connects."""
    loaded = load({"NOTIFY_BROKER_URL": url})
    assert loaded.worker.broker_url.get_secret_value() == url
    row = next(row for row in rows(loaded) if row.name == "NOTIFY_BROKER_URL")
    assert (row.value, row.secret) == (shown, True)


def test_a_file_of_certificates_and_a_folder_are_accepted(tmp_path: Path) -> None:
    """What exists and can be read is kept as a path."""
    ca_file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca_file)
    worker = load({"NOTIFY_SMTP_CA_FILE": str(ca_file), "NOTIFY_TEMPLATES_DIR": str(tmp_path)}).worker
    assert (worker.smtp_ca_file, worker.templates_dir) == (ca_file, tmp_path)


def test_a_file_without_certificates_is_refused(file: Path) -> None:
    """At start, and not when the first mail is sent."""
    file.write_text("not a certificate", "utf-8")
    expected = f'NOTIFY_SMTP_CA_FILE: "{str(file)[:60]}'
    assert faults({"NOTIFY_SMTP_CA_FILE": str(file)})[0].startswith(expected)


@pytest.mark.parametrize("text", ["cy,en-GB", " cy , en-GB "])
def test_two_languages_are_kept_in_their_order(text: str) -> None:
    """The first begins each mail."""
    assert load({"NOTIFY_BILINGUAL": text}).worker.languages_together == ("cy", "en-GB")


def test_no_languages_come_together_by_default() -> None:
    """Nor where the setting is empty."""
    assert load({}).worker.languages_together == load({"NOTIFY_BILINGUAL": ""}).worker.languages_together == ()


def test_the_authority_is_kept_without_its_last_slash() -> None:
    """Paths are put behind it."""
    authority = load({"NOTIFY_ENTRA_AUTHORITY": "https://login.microsoftonline.us/"}).worker.entra_authority
    assert authority == "https://login.microsoftonline.us"


def test_all_faults_are_reported_at_once_each_with_its_line(file: Path) -> None:
    """Nobody wants to mend one line a start."""
    text = """\
SMTP relay with username and password
JavaScript
EmailSmtpHost = a.example
EmailSmtpPort = abc
EmailSmtpPassword = <password>
EmailSmtpPasswort = hunter2
EmailSmtpUseSSL = true
EmailSmtpUseSSL = false
NOTIFY_PREFXI = a
NOTIFY_SETTINGS_FILE = other.conf
SmtpUsername = x
aHVudGVyMg==
"""
    assert file_faults(file, text, {"NOTIFY_DRAIN_SECONDS": "soon"}) == (
        'not a setting: write "Name = value", or begin the line with # for a comment (smtp.conf, line 1)',
        "EmailSmtpHost: unknown setting; did you mean EmailSMTPHost? (smtp.conf, line 3)",
        "EmailSmtpPasswort: unknown setting; did you mean EmailSmtpPassword? (smtp.conf, line 6)",
        "NOTIFY_PREFXI: unknown setting; did you mean NOTIFY_PREFIX? (smtp.conf, line 9)",
        "NOTIFY_SETTINGS_FILE: can only be set in the environment (smtp.conf, line 10)",
        "SmtpUsername: unknown setting; did you mean EmailSmtpUsername? (smtp.conf, line 11)",
        "unknown setting; the command `notify-worker settings` lists their names (smtp.conf, line 12)",
        "EmailSmtpUseSSL: set more than once (smtp.conf, lines 7, 8)",
        f"EmailSmtpPassword: {PLACEHOLDER} (smtp.conf, line 5)",
        'EmailSmtpPort: "abc" is not a port number between 1 and 65535 (smtp.conf, line 4)',
        'NOTIFY_DRAIN_SECONDS: "soon" is not a whole number between 0 and 999999999',
    )


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("EMAILSMTPHOST", "EmailSMTPHost"),
        ("EmailSmtpHost", "EmailSMTPHost"),
        ("emailsmtpport", "EmailSmtpPort"),
        ("EmailSmtpUseImplicitTLS", "EmailSmtpUseImplicitSSL"),
        ("EmailSmtpOAuth2TenantId", "EmailSmtpOAuth2AzureTenantId"),
        ("EmailSmtpUserName", "EmailSmtpUsername"),
    ],
)
def test_a_name_close_to_the_guide_s_is_refused_and_corrected(name: str, nearest: str, file: Path) -> None:
    """Names are exact, in the environment as in the file; whoever misses one is told the nearest."""
    expected = f"{name}: unknown setting; did you mean {nearest}?"
    assert faults({name: "x"}) == (expected,)
    assert file_faults(file, f"{name} = x") == (f"{expected} (smtp.conf, line 1)",)


def test_a_strange_name_in_the_environment_is_a_warning() -> None:
    """Kubernetes puts names of its own there; systemd's `NOTIFY_SOCKET` and all others say nothing."""
    environ = {"NOTIFY_PORT_80_TCP": "x", "notify_prefix": "x", "NOTIFY_SOCKET": "/run/x", "PATH": "/bin"}
    loaded = load(environ | {"NOTIFY_SETTINGS_FILE": ""})
    assert [warning.partition(":")[0] for warning in loaded.warnings] == ["NOTIFY_PORT_80_TCP", "notify_prefix"]
    assert loaded.warnings[1] == "notify_prefix: unknown setting; did you mean NOTIFY_PREFIX? It is ignored."
    assert loaded.worker == WorkerSettings()


@pytest.mark.parametrize("name", SMTP_SETTING_NAMES)
def test_no_fault_shows_a_secret(name: str, file: Path) -> None:
    """Whatever is wrong around it, a value that may be a secret is not repeated."""
    text = f"{name}x = hunter2\n{name} = <hunter2>\n{name} = <hunter2>\nhunter2\nhunter2 = \nEmailSmtp"
    assert "hunter2" not in "\n".join(file_faults(file, text))


def test_a_file_that_cannot_be_read_is_a_fault_beside_the_others(tmp_path: Path) -> None:
    """The environment is judged all the same."""
    missing = tmp_path / "missing.conf"
    assert faults({"EmailSmtpPort": "abc"}, missing) == (
        f"settings file {missing}: No such file or directory",
        'EmailSmtpPort: "abc" is not a port number between 1 and 65535',
    )
    assert faults({}, tmp_path) == (f"settings file {tmp_path}: Is a directory",)


def test_a_file_in_another_encoding_is_a_fault(file: Path) -> None:
    """It says where and what to do."""
    file.write_bytes(b"EmailSmtpPort = 25\nEmailSmtpPassword = hunter\xe9\n")
    assert faults({}, file) == (f"settings file {file}: line 2 is not UTF-8 text; save the file as UTF-8",)


def test_settings_cannot_be_changed() -> None:
    """They are values: who wants others loads again."""
    loaded = load({})
    for field in WorkerSettings.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(loaded.worker, field, "x")
    assert isinstance(loaded.sources, MappingProxyType)


def test_rows_stand_in_documented_order_and_each_is_described() -> None:
    """The guide's twelve come first, in the guide's order."""
    shown = rows(load({}))
    assert tuple(row.name for row in shown[:12]) == SMTP_SETTING_NAMES
    assert all(row.name.startswith("NOTIFY_") for row in shown[12:])
    assert all(row.description.endswith(".") for row in shown)


def test_rows_mask_secrets_that_are_set() -> None:
    """Stars for a secret, nothing for none, so that an operator sees which it is."""
    shown = {row.name: row for row in rows(load({"EmailSmtpPassword": "hunter2", "EmailSmtpUseSSL": "TRUE"}))}
    assert [name for name, row in shown.items() if row.secret] == [
        "EmailSmtpPassword",
        "EmailSmtpOAuth2ClientSecret",
        "NOTIFY_BROKER_URL",
    ]
    assert shown["EmailSmtpPassword"].value == MASK
    assert shown["EmailSmtpOAuth2ClientSecret"].value == ""
    assert shown["EmailSmtpUseSSL"].value == "true"


@pytest.mark.parametrize(
    ("environ", "sessions", "per_minute"),
    [
        ({}, 8, None),
        ({"EmailSMTPHost": "smtp.office365.com"}, 3, 30),
        ({"EmailSMTPHost": "SMTP.Office365.com."}, 3, 30),
        ({"EmailSMTPHost": "smtp.office365.com", "NOTIFY_SMTP_MAX_SESSIONS": "5"}, 5, 30),
        ({"EmailSMTPHost": "smtp.office365.com", "NOTIFY_SMTP_MESSAGES_PER_MINUTE": "9"}, 3, 9),
    ],
)
def test_microsoft_s_limits_are_the_defaults_at_microsoft(
    environ: dict[str, str], sessions: int, per_minute: int | None
) -> None:
    """Three sessions and thirty mails a minute there; eight sessions and no limit elsewhere."""
    loaded = load(environ)
    assert (loaded.max_sessions, loaded.messages_per_minute) == (sessions, per_minute)


def _revision(environ: Mapping[str, str]) -> str:
    return settings_revision(load(environ))


def test_a_revision_is_the_same_for_the_same_settings(file: Path) -> None:
    """Where a value comes from does not matter, nor whether it is the default."""
    file.write_text("EmailSmtpUsername = cms", "utf-8")
    revision = settings_revision(load({}, file))
    assert revision == _revision({"EmailSmtpUsername": "cms", "EmailSmtpPort": "25"})
    assert len(revision) == 12
    assert int(revision, 16) >= 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EmailSMTPHost", "a.example"),
        ("EmailSmtpPort", "587"),
        ("EmailSmtpUseSSL", "true"),
        ("EmailSmtpPassword", "rotated"),
        ("EmailSmtpOAuth2ClientSecret", "rotated"),
        ("NOTIFY_DEFAULT_FROM", ""),
        ("NOTIFY_SMTP_MAX_SESSIONS", "4"),
        ("NOTIFY_SMTP_TIMEOUT_SECONDS", "5"),
        ("NOTIFY_ENTRA_AUTHORITY", "https://login.microsoftonline.us"),
    ],
)
def test_a_setting_that_decides_sending_makes_a_new_revision(name: str, value: str) -> None:
    """A rotated secret counts: its dead letters are worth sending again."""
    assert _revision({name: value}) != _revision({})


def test_a_setting_that_has_nothing_to_do_with_sending_makes_no_new_revision() -> None:
    """Otherwise another broker address would look like a mended mail server."""
    other = {"NOTIFY_BROKER_URL": "amqp://a/", "NOTIFY_PREFIX": "cms", "NOTIFY_DRAIN_SECONDS": "1"}
    assert _revision(other) == _revision({})


_NAMES = st.sampled_from((*load({}).sources, "EmailSmtp", "NOTIFY_", "NOTIFY_SETTINGS_FILE", "x", ""))
_TEXTS = st.one_of(
    st.text(max_size=30), st.sampled_from(("true", "(empty)", "<x>", "587", "https://[", "amqp://"))
)
_LINES = st.lists(st.builds("{} = {}".format, _NAMES, _TEXTS), max_size=6).map("\n".join)


_ONE_LINE = st.text(st.characters(exclude_characters="\r\n<(", exclude_categories=["Cs"])).map(trimmed)


@settings(max_examples=200, deadline=None)
@given(password=_ONE_LINE)
def test_any_password_is_taken_as_it_stands(password: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The same in the file and in the environment; only `(empty)` and `<placeholder>` mean something else."""
    path = tmp_path_factory.getbasetemp() / "password.conf"
    path.write_text(f"EmailSmtpPassword={password}", "utf-8", newline="")
    for loaded in (load({}, path), load({"EmailSmtpPassword": password})):
        assert loaded.smtp.EmailSmtpPassword.get_secret_value() == password


@settings(max_examples=300, deadline=None)
@given(content=st.one_of(st.binary(max_size=200), _LINES.map(lambda text: text.encode(errors="replace"))))
def test_whatever_stands_in_the_file_only_faults_come_of_it(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A file is settings or a list of faults, never another error; both can be printed."""
    path = tmp_path_factory.getbasetemp() / "any.conf"
    path.write_bytes(content)
    assert _answer({}, path).encode()


@settings(max_examples=200, deadline=None)
@given(environ=st.dictionaries(_NAMES, st.text(max_size=30), max_size=6))
def test_whatever_stands_in_the_environment_only_faults_come_of_it(environ: dict[str, str]) -> None:
    """Bytes that are no text included, which Python shows as lone surrogates."""
    assert _answer(environ).encode()


def _answer(environ: Mapping[str, str], file: Path | None = None) -> str:
    try:
        return repr(rows(load(environ, file)))
    except SettingsError as error:
        return "\n".join(error.faults)
