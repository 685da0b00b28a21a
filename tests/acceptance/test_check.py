"""The commands `check` and `send-test`, as an administrator runs them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from contracts import error_texts
from tests.support.dns_server import DnsServer
from tests.support.ports import closed_port
from tests.support.smtp_server import SmtpServer, certified
from tests.support.worker import command

BASIC: Final = {"EmailSmtpUsername": "cms@example.com", "EmailSmtpPassword": "hunter2"}
OAUTH2: Final = {
    "EmailSmtpUseOAuth2": "true",
    "EmailSmtpOAuth2ClientId": "app",
    "EmailSmtpOAuth2ClientSecret": "s3cret",
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of these tests."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """A DNS server that knows the domains of these tests; the world sees our server at a public address."""
    zone = {
        "localhost": [{"A": "192.0.2.10"}],
        "example.com": [{"TXT": "v=spf1 ip4:192.0.2.10 -all"}],
        "example.org": [{"TXT": "v=spf1 include:spf.example.net -all"}],
        "spf.example.net": [{"TXT": "v=spf1 ip4:198.51.100.0/24 -all"}],
        "_dmarc.example.org": [{"TXT": "v=DMARC1; p=quarantine"}],
    }
    async with DnsServer(zone) as server:
        yield server


def _settings(server: SmtpServer, **more: str) -> dict[str, str]:
    ours = {
        "EmailSMTPHost": server.host,
        "EmailSmtpPort": str(server.port),
        "NOTIFY_DEFAULT_FROM": "cms@example.com",
        "NOTIFY_SMTP_TIMEOUT_SECONDS": "5",
    }
    return {**ours, **more}


async def _json(arguments: list[str], settings: dict[str, str]) -> tuple[int, list[dict[str, Any]]]:
    code, out, _ = await command([*arguments, "--json"], settings)
    return code, json.loads(out)


async def test_check_shows_the_way_to_the_server_line_by_line(
    authority: trustme.CA, ca_file: Path, dns: DnsServer, tmp_path: Path
) -> None:
    """From a settings file in the guide's own form; exit code 0, no mail, and the next command."""
    server = SmtpServer(
        host="localhost", tls=certified(authority), mechanisms=("PLAIN",), users={"cms@example.com": "hunter2"}
    )
    async with server:
        file = tmp_path / "settings.txt"
        file.write_text(
            f"JavaScript\nEmailSMTPHost = localhost\nEmailSmtpPort = {server.port}\nEmailSmtpUseSSL = true\n"
            f"EmailSmtpUsername = cms@example.com\nEmailSmtpPassword = hunter2\n"
            f"NOTIFY_SMTP_CA_FILE = {ca_file}\nNOTIFY_DEFAULT_FROM = cms@example.com\n"
        )
        code, out, err = await command(["check", "--settings", str(file), "--resolver", dns.address], {})
    marks = [line[:21].split() for line in out.splitlines()]
    steps = ["settings", "plan", "dns", "tcp", "greeting", "tls", "ehlo", "token", "auth", "spf", "dmarc"]
    assert marks == [[step, "OK"] for step in steps], out
    assert code == 0
    assert "notify-worker send-test --to ADDRESS" in err
    assert server.accepted == []
    assert "hunter2" not in out + err


TROUBLES: Final[dict[str, tuple[dict[str, str], str, str, str]]] = {
    "no TLS": (OAUTH2, "plan", "oauth2-requires-tls", error_texts.OAUTH2_REQUIRES_TLS),
    "no tenant and no endpoint": (
        {**OAUTH2, "EmailSmtpUseSSL": "true"},
        "plan",
        "oauth2-not-configured",
        error_texts.OAUTH2_NOT_CONFIGURED,
    ),
    "connection fails": (
        {"EmailSmtpPort": str(closed_port())},
        "tcp",
        "smtp-unreachable",
        error_texts.CONNECTION_FAILS,
    ),
    "port and encryption do not match": (
        {"EmailSmtpUseImplicitSSL": "true"},
        "tls",
        "smtp-port-mismatch",
        error_texts.CONNECTION_FAILS,
    ),
    "535": (BASIC, "auth", "smtp-authentication-refused", error_texts.AUTHENTICATION_UNSUCCESSFUL),
    "no user name": (
        {
            **OAUTH2,
            "EmailSmtpUseSSL": "true",
            "EmailSmtpOAuth2AzureTenantId": "contoso",
            "NOTIFY_DEFAULT_FROM": "",
        },
        "plan",
        "oauth2-username-unknown",
        error_texts.OAUTH2_USERNAME_UNKNOWN,
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_each_row_of_the_guides_troubleshooting_comes_out_with_its_text(
    trouble: tuple[dict[str, str], str, str, str], dns: DnsServer
) -> None:
    """Letter for letter, with the settings to change; exit code 1, and nothing after it is reached."""
    more, step, code, text = trouble
    async with SmtpServer(mechanisms=("PLAIN",)) as server:
        exit_code, rows = await _json(["check", "--resolver", dns.address], _settings(server, **more))
    failed = next(row for row in rows if row["ok"] is False)
    assert exit_code == 1
    assert (failed["step"], failed["code"], failed["text"]) == (step, code, text)
    assert failed["settings"]
    later = rows[rows.index(failed) + 1 :]
    reached = {row["step"] for row in later if row["ok"] is not None and row["code"] != "warning"}
    assert reached <= {"plan", "spf", "dmarc"}


async def test_settings_that_cannot_be_read_are_the_first_failed_step() -> None:
    """Exit code 2, as with every command; a line for each fault."""
    broken = {"EmailSmtpPort": "abc", "EmailSmtpHost": "mail.example.com"}
    code, rows = await _json(["check"], broken)
    assert code == 2
    assert [row["step"] for row in rows[:2]] == ["settings", "settings"]
    assert {name for row in rows[:2] for name in row["settings"]} >= {"EmailSmtpPort", "EmailSMTPHost"}
    assert {row["ok"] for row in rows[2:]} == {None}
    code, out, _ = await command(["check"], broken)
    assert code == 2
    assert out.startswith("settings  FAILED ")


async def test_a_from_domain_that_does_not_authorise_the_host_is_warned_of(dns: DnsServer) -> None:
    """`--from` with its SPF and DMARC records; a warning does not change the exit code."""
    async with SmtpServer(host="localhost") as server:
        arguments = ["check", "--from", "Web <web@example.org>", "--resolver", dns.address]
        code, rows = await _json(arguments, _settings(server))
    said = {row["step"]: row for row in rows}
    assert code == 0
    assert (said["spf"]["ok"], said["spf"]["code"]) == (True, "warning")
    assert "example.org does not authorise localhost (192.0.2.10)" in said["spf"]["text"]
    assert "receivers quarantine mail" in said["dmarc"]["text"]
    assert ("example.org", "TXT") in dns.queries


async def test_zengentis_server_with_another_domain_is_named_in_the_guides_words(dns: DnsServer) -> None:
    """The default host, and a From address on the administrator's own domain."""
    code, out, _ = await command(["check", "--from", "cms@example.com", "--resolver", dns.address], {})
    assert code == 1
    assert "spf       WARNING      The From address is on your own domain while you are still sending" in out
    assert "sent from servers your domain hasn't authorised" in out


async def test_send_test_sends_one_mail_and_prints_the_reply(ca_file: Path, authority: trustme.CA) -> None:
    """Exit code 0; the mail says what it is."""
    async with SmtpServer(tls=certified(authority)) as server:
        settings = _settings(server, EmailSmtpUseSSL="true", NOTIFY_SMTP_CA_FILE=str(ca_file))
        arguments = ["send-test", "--to", "Ann <ann@example.org>", "--from", "web@example.com"]
        code, out, err = await command(arguments, settings)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "send      OK           250 2.0.0 Ok: queued"
    (mail,) = server.accepted
    assert (mail.sender, mail.recipients, mail.encrypted) == ("web@example.com", ("ann@example.org",), True)
    assert b"This is a test mail." in mail.content


async def test_send_test_says_why_nothing_was_sent() -> None:
    """Exit code 1 with the documented cause, and the command that looks closer."""
    async with SmtpServer() as server:
        server.answer("BODY", "550 5.7.60 SMTP; Client does not have permissions to send as this sender")
        settings = _settings(server)
        code, out, err = await command(["send-test", "--to", "ann@example.org"], settings)
        _, rows = await _json(["send-test", "--to", "ann@example.org"], settings)
    assert code == 1
    assert "send      FAILED       The mail server does not let this login send from this From address" in out
    assert "notify-worker check" in err
    assert [row["step"] for row in rows] == ["settings", "plan", "connect", "send"]
    assert rows[-1]["code"] == "smtp-send-as-denied"


@pytest.mark.parametrize(
    "arguments",
    [
        ["send-test"],
        ["send-test", "--to", "nobody"],
        ["send-test", "--to", "a@example.org", "--from", "nobody"],
        ["check", "--from", "nobody"],
        ["check", "--resolver", "dns.example"],
    ],
    ids=" ".join,
)
async def test_a_wrong_argument_is_refused(arguments: list[str]) -> None:
    """Exit code 2; nothing is connected to, and an address is not repeated."""
    code, out, err = await command(arguments, {})
    assert (code, out) == (2, "")
    assert "Usage:" in err


async def test_send_test_with_settings_that_cannot_be_read() -> None:
    """Exit code 2."""
    code, _, _ = await command(["send-test", "--to", "a@example.org"], {"EmailSmtpPort": "abc"})
    assert code == 2
