"""`check` and `send-test` against servers that are right, and wrong in each documented way."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

import pytest
import trustme

from contracts import error_texts
from contracts.dead_letter import ABOUT, Reason
from tests.support.dns_server import DnsServer, Zone
from tests.support.ports import closed_port, filtered_port, silent_port
from tests.support.smtp_server import SmtpServer, certified, outdated
from tests.support.token_server import TokenServer
from worker.address import parse_mailbox
from worker.check import check
from worker.findings import Finding, Mark
from worker.send_test import send_test
from worker.sender.lookup import Server
from worker.settings import Settings, load

PLAIN_ORDER: Final = [
    "settings",
    "plan",
    "dns",
    "tcp",
    "greeting",
    "tls",
    "ehlo",
    "token",
    "auth",
    "spf",
    "dmarc",
]
TO: Final = parse_mailbox("Ann <ann@example.org>")
ZONE: Final[Zone] = {
    "localhost": [{"A": "127.0.0.1"}],
    "example.com": [{"TXT": "v=spf1 ip4:127.0.0.1 -all"}],
    "_dmarc.example.com": [{"TXT": "v=DMARC1; p=reject"}],
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority of these tests."""
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its certificate, for NOTIFY_SMTP_CA_FILE and SSL_CERT_FILE."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def dns() -> AsyncIterator[Server]:
    """A DNS server that knows example.com."""
    async with DnsServer(ZONE) as server:
        yield Server.parse(server.address)


def _settings(server: SmtpServer, **more: str) -> Settings:
    ours = {
        "EmailSMTPHost": server.host,
        "EmailSmtpPort": str(server.port),
        "NOTIFY_DEFAULT_FROM": "cms@example.com",
        "NOTIFY_SMTP_TIMEOUT_SECONDS": "5",
    }
    return load({**ours, **more})


async def _checked(settings: Settings, dns: Server, seconds: float = 30.0) -> list[Finding]:
    return [finding async for finding in check(settings, resolver=dns, seconds=seconds)]


def _one(findings: list[Finding], mark: Mark) -> Finding:
    (only,) = [finding for finding in findings if finding.mark is mark]
    return only


def _after(findings: list[Finding], failed: Finding) -> list[Mark]:
    later = findings[findings.index(failed) + 1 :]
    return [finding.mark for finding in later if finding.step not in {"spf", "dmarc"}]


STARTTLS: Final = {"EmailSmtpUseSSL": "true"}
IMPLICIT: Final = {"EmailSmtpUseImplicitSSL": "true"}
BASIC: Final = {"EmailSmtpUsername": "cms", "EmailSmtpPassword": "hunter2"}
OAUTH2: Final = {
    **STARTTLS,
    "EmailSmtpUseOAuth2": "true",
    "EmailSmtpOAuth2ClientId": "app",
    "EmailSmtpOAuth2ClientSecret": "s3cret",
}


@pytest.mark.parametrize(
    ("encryption", "implicit", "order"),
    [
        ({}, False, PLAIN_ORDER),
        (STARTTLS, False, PLAIN_ORDER),
        (IMPLICIT, True, [*PLAIN_ORDER[:4], "tls", "greeting", *PLAIN_ORDER[6:]]),
    ],
    ids=["no encryption", "STARTTLS", "implicit SSL"],
)
async def test_every_step_says_what_it_saw(
    encryption: dict[str, str],
    order: list[str],
    authority: trustme.CA,
    ca_file: Path,
    dns: Server,
    *,
    implicit: bool,
) -> None:
    """In the order of the connection, and no mail is sent."""
    tls = certified(authority) if encryption else None
    server = SmtpServer(
        tls=tls, implicit=implicit, mechanisms=("PLAIN",), users={"cms": "hunter2"}, host="localhost"
    )
    async with server:
        settings = _settings(server, **encryption, **BASIC, NOTIFY_SMTP_CA_FILE=str(ca_file))
        findings = [finding for finding in await _checked(settings, dns) if finding.mark is not Mark.WARNING]
    said = {finding.step: finding.text for finding in findings}
    assert list(said) == order
    assert {finding.mark for finding in findings} == {Mark.OK}
    assert said["plan"].startswith(f"localhost port {server.port}, ")
    assert said["plan"].endswith("user name and password, as cms")
    assert "127.0.0.1" in said["dns"]
    assert said["greeting"] == "220 test.invalid ESMTP"
    assert said["tls"].startswith(
        "TLSv1.3, certificate for localhost" if encryption else "not used: everything is"
    )
    assert "PIPELINING, SIZE 36700160" in said["ehlo"]
    assert said["auth"] == "logged in by PLAIN as cms"
    assert said["spf"] == (
        "example.com authorises localhost (127.0.0.1) by ip4:127.0.0.1 in the record of example.com."
    )
    assert "reject, with relaxed SPF alignment: mail through localhost aligns" in said["dmarc"]
    assert not server.accepted
    assert "hunter2" not in str(findings)


async def test_anonymous_and_addresses_need_neither_login_nor_lookup(dns: Server) -> None:
    """The guide's internal mail relay."""
    async with SmtpServer() as server:
        findings = await _checked(_settings(server), dns)
    said = {finding.step: finding.text for finding in findings}
    assert said["dns"] == "not needed for an address"
    assert said["tcp"] == f"connected to 127.0.0.1 port {server.port}"
    assert said["token"] == "not needed without OAuth2"
    assert said["auth"] == "not needed: mail is sent anonymously"


PLANS: Final = [
    ({"EmailSmtpUseOAuth2": "true"}, "oauth2-requires-tls", error_texts.OAUTH2_REQUIRES_TLS),
    ({**OAUTH2}, "oauth2-not-configured", error_texts.OAUTH2_NOT_CONFIGURED),
    (
        {**OAUTH2, "EmailSmtpOAuth2AzureTenantId": "t", "NOTIFY_DEFAULT_FROM": ""},
        "oauth2-username-unknown",
        error_texts.OAUTH2_USERNAME_UNKNOWN,
    ),
    ({**OAUTH2, "EmailSmtpOAuth2TokenEndpoint": "http://idp"}, "oauth2-endpoint-not-https", None),
    ({"EmailSMTPHost": ""}, "smtp-host-missing", None),
    ({"NOTIFY_DEFAULT_FROM": ""}, "sender-missing", None),
]


@pytest.mark.parametrize(("more", "code", "text"), PLANS, ids=[code for _, code, _ in PLANS])
async def test_settings_that_cannot_send_are_told_before_anything_is_connected_to(
    more: dict[str, str], code: str, text: str | None, dns: Server
) -> None:
    """In the guide's words where it has them; every fault there is, the documented first one first."""
    async with SmtpServer() as server:
        findings = await _checked(_settings(server, **more), dns)
    failed = next(finding for finding in findings if finding.mark is Mark.FAILED)
    assert (failed.step, failed.code, failed.text) == ("plan", code, text or ABOUT[Reason(code)].text)
    assert failed.settings
    assert failed.hint
    assert [finding.mark for finding in findings if finding.step in PLAIN_ORDER[2:9]] == [Mark.NOT_REACHED] * 7
    assert server.connections == 0


Make = Callable[[trustme.CA], SmtpServer]
PORTS: Final[dict[str, tuple[Make, dict[str, str], str, Reason, str]]] = {
    "implicit SSL at a STARTTLS port": (
        lambda ca: SmtpServer(tls=certified(ca)),
        IMPLICIT,
        "tls",
        Reason.SMTP_PORT_MISMATCH,
        "answered in plain text although EmailSmtpUseImplicitSSL is true",
    ),
    "STARTTLS at an implicit SSL port": (
        lambda ca: SmtpServer(tls=certified(ca), implicit=True),
        STARTTLS,
        "greeting",
        Reason.SMTP_PORT_MISMATCH,
        "waits for implicit SSL although EmailSmtpUseSSL",
    ),
    "no STARTTLS": (
        lambda _ca: SmtpServer(),
        STARTTLS,
        "tls",
        Reason.SMTP_STARTTLS_MISSING,
        "it offers PIPELINING",
    ),
    "old TLS": (
        lambda ca: SmtpServer(tls=outdated(ca)),
        STARTTLS,
        "tls",
        Reason.SMTP_TLS_VERSION,
        "speaks TLS 1.1 at most",
    ),
    "old implicit TLS": (
        lambda ca: SmtpServer(tls=outdated(ca), implicit=True),
        IMPLICIT,
        "tls",
        Reason.SMTP_TLS_VERSION,
        "speaks TLS 1.1 at most",
    ),
    "another name": (
        lambda ca: SmtpServer(tls=certified(ca, "mail.example.com")),
        STARTTLS,
        "tls",
        Reason.SMTP_CERTIFICATE,
        "it is for mail.example.com",
    ),
    "an unknown issuer": (
        lambda _ca: SmtpServer(tls=certified(trustme.CA(organization_name="Somebody")), implicit=True),
        IMPLICIT,
        "tls",
        Reason.SMTP_CERTIFICATE,
        "issued by Somebody",
    ),
    "a refusal in the greeting": (
        lambda _ca: SmtpServer(greeting="554 5.7.1 Go away"),
        {},
        "greeting",
        Reason.SMTP_RELAY_REFUSED,
        "554 5.7.1 Go away",
    ),
    "a wrong password": (
        lambda ca: SmtpServer(tls=certified(ca), mechanisms=("PLAIN",), users={"cms": "another"}),
        {**STARTTLS, **BASIC},
        "auth",
        Reason.SMTP_AUTHENTICATION_REFUSED,
        "535 5.7.3 Authentication unsuccessful",
    ),
    "no way to log in": (
        lambda ca: SmtpServer(tls=certified(ca)),
        {**STARTTLS, **BASIC},
        "auth",
        Reason.SMTP_AUTHENTICATION_MISSING,
        "needed for AUTH: plain or login; offered: nothing",
    ),
}


@pytest.mark.parametrize("row", PORTS.values(), ids=PORTS)
async def test_a_server_that_does_not_fit_is_told_at_its_step(
    row: tuple[Make, dict[str, str], str, Reason, str], authority: trustme.CA, ca_file: Path, dns: Server
) -> None:
    """With the guide's sentence, what was seen, and the settings to change; nothing after it is reached."""
    make, more, step, reason, words = row
    async with make(authority) as server:
        findings = await _checked(_settings(server, **more, NOTIFY_SMTP_CA_FILE=str(ca_file)), dns)
    failed = _one(findings, Mark.FAILED)
    assert (failed.step, failed.code, failed.text) == (step, reason, ABOUT[reason].text)
    assert words in failed.detail
    assert failed.settings == ABOUT[reason].settings
    assert set(_after(findings, failed)) <= {Mark.NOT_REACHED}
    assert {finding.step for finding in findings} == set(PLAIN_ORDER)


@pytest.fixture(params=[closed_port, filtered_port, silent_port], ids=lambda make: make.__name__)
def deaf(request: pytest.FixtureRequest) -> Iterator[tuple[int, str, str]]:
    """A port that gives no answer, the step at which that shows, and how it is told."""
    told = {
        "closed_port": ("tcp", "the connection was refused: nothing listens at EmailSmtpPort there"),
        "filtered_port": ("tcp", "no answer in time: a firewall may be blocking EmailSmtpPort"),
        "silent_port": ("greeting", "greeting: no answer in time"),
    }
    made: int | AbstractContextManager[int] = request.param()
    with ExitStack() as stack:
        port = made if isinstance(made, int) else stack.enter_context(made)
        yield port, *told[request.param.__name__]


async def test_a_port_without_an_answer_is_the_guides_row(deaf: tuple[int, str, str], dns: Server) -> None:
    """Connection fails or times out; refused, filtered and silent are told apart."""
    port, step, words = deaf
    findings = await _checked(_settings(SmtpServer(port=port), NOTIFY_SMTP_TIMEOUT_SECONDS="1"), dns)
    failed = _one(findings, Mark.FAILED)
    assert (failed.step, failed.code, failed.text) == (step, "smtp-unreachable", error_texts.CONNECTION_FAILS)
    assert words in failed.detail


async def test_a_name_that_is_not_found_is_the_guides_row(dns: Server) -> None:
    """At the first step there is."""
    findings = await _checked(_settings(SmtpServer(host="no-such-host.invalid", port=25)), dns)
    failed = _one(findings, Mark.FAILED)
    assert (failed.step, failed.text) == ("dns", error_texts.CONNECTION_FAILS)
    assert "could not be resolved" in failed.detail


async def test_a_port_that_waits_for_implicit_ssl_is_told_long_before_the_time_out(
    authority: trustme.CA, dns: Server
) -> None:
    """The guide's most common cause is not worth half a minute of waiting."""
    async with asyncio.timeout(10), SmtpServer(tls=certified(authority), implicit=True) as server:
        findings = await _checked(
            _settings(server, **STARTTLS, NOTIFY_SMTP_TIMEOUT_SECONDS="30"), dns, seconds=40
        )
    assert _one(findings, Mark.FAILED).code == "smtp-port-mismatch"


async def test_a_server_that_is_slow_to_greet_is_waited_for(dns: Server) -> None:
    """Some wait on purpose, to see whether the client does."""
    async with SmtpServer() as server:
        server.delay("CONNECT", 2.5, times=1)
        findings = await _checked(_settings(server, NOTIFY_SMTP_TIMEOUT_SECONDS="30"), dns, seconds=40)
    assert {finding.mark for finding in findings if finding.step == "greeting"} == {Mark.OK}


async def test_a_check_has_an_end_whatever_the_server_does(dns: Server) -> None:
    """Its time is limited as a whole, however long each reply may take."""
    async with SmtpServer() as server:
        server.stay_silent("EHLO")
        findings = await _checked(_settings(server, NOTIFY_SMTP_TIMEOUT_SECONDS="600"), dns, seconds=0.5)
    failed = _one(findings, Mark.FAILED)
    assert (failed.step, failed.code) == ("ehlo", "smtp-unreachable")
    assert failed.detail == "no answer, and the time that a check may take is over"


def _jwt(claims: dict[str, object]) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize(("roles", "warned"), [(["SMTP.SendAsApp"], False), ([], True)])
async def test_an_entra_token_is_fetched_shown_and_looked_into(
    roles: list[str],
    authority: trustme.CA,
    ca_file: Path,
    dns: Server,
    monkeypatch: pytest.MonkeyPatch,
    *,
    warned: bool,
) -> None:
    """A token without the sending role is the commonest reason for 535 5.7.3; it is never shown itself."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    token = _jwt({"roles": roles})
    tls = certified(authority)
    async with (
        TokenServer(tls) as idp,
        SmtpServer(tls=tls, mechanisms=("XOAUTH2",), tokens={"cms@example.com": token}) as server,
    ):
        idp.answer(200, {"access_token": token, "expires_in": 3600})
        entra = {"EmailSmtpOAuth2AzureTenantId": "contoso", "NOTIFY_ENTRA_AUTHORITY": idp.url("")}
        findings = await _checked(_settings(server, **OAUTH2, **entra, NOTIFY_SMTP_CA_FILE=str(ca_file)), dns)
    said = {finding.step: finding.text for finding in findings if finding.mark is Mark.OK}
    assert said["token"] == "from 127.0.0.1, good for 60 minutes"
    assert said["auth"] == "logged in by XOAUTH2 as cms@example.com"
    told = [finding.step for finding in findings if finding.mark is Mark.WARNING]
    assert told == ["token"] * warned
    assert token not in str(findings)


async def test_a_refused_client_is_told_at_the_token(
    authority: trustme.CA, ca_file: Path, dns: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail server was fine; the identity provider was not."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    tls = certified(authority)
    async with TokenServer(tls) as idp, SmtpServer(tls=tls, mechanisms=("XOAUTH2",)) as server:
        more = {**OAUTH2, "EmailSmtpOAuth2TokenEndpoint": idp.url(), "NOTIFY_SMTP_CA_FILE": str(ca_file)}
        findings = await _checked(_settings(server, **more), dns)
    failed = _one(findings, Mark.FAILED)
    assert (failed.step, failed.code) == ("token", "oauth2-client-refused")
    assert "EmailSmtpOAuth2ClientSecret" in failed.settings
    assert "AADSTS7000215" in failed.detail
    assert _after(findings, failed) == [Mark.NOT_REACHED]


WARNED: Final = [
    (BASIC, "EmailSmtpUsername and EmailSmtpPassword are sent in plain text"),
    ({"EmailSmtpUsername": "cms"}, "Only one of EmailSmtpUsername and EmailSmtpPassword is set"),
    ({"EmailSmtpPassword": "hunter2"}, "Only one of EmailSmtpUsername and EmailSmtpPassword is set"),
    (
        {"EmailSMTPHost": "smtp.office365.com", **BASIC, **STARTTLS},
        "Microsoft has retired basic authentication at smtp.office365.com",
    ),
    ({**IMPLICIT, "EmailSmtpPort": "587"}, "EmailSmtpPort does not match the encryption mode"),
    ({**STARTTLS, "EmailSmtpPort": "465"}, "EmailSmtpPort does not match the encryption mode"),
]


@pytest.mark.parametrize(("more", "words"), WARNED)
async def test_what_the_guide_warns_of_is_warned_of(more: dict[str, str], words: str, dns: Server) -> None:
    """Whether the server can be reached or not; a warning names its settings and fails nothing."""
    findings = await _checked(_settings(SmtpServer(port=closed_port()), **more), dns)
    told = [finding for finding in findings if finding.mark is Mark.WARNING and finding.step == "plan"]
    assert [words in finding.text for finding in told] == [True]
    assert told[0].code == "warning"
    assert told[0].ok
    assert told[0].settings


async def test_the_from_address_of_the_command_counts(dns: Server) -> None:
    """`--from` asks about another domain than the default one."""
    async with SmtpServer() as server:
        asked = check(_settings(server), sender=parse_mailbox("Web <web@example.org>"), resolver=dns)
        findings = {finding.step: finding async for finding in asked}
    assert findings["spf"].mark is Mark.UNCLEAR
    assert "example.org" in findings["spf"].text


async def test_a_test_mail_is_sent_and_the_servers_reply_is_shown(authority: trustme.CA, ca_file: Path) -> None:
    """One real mail that says what it is."""
    server = SmtpServer(tls=certified(authority), mechanisms=("LOGIN",), users={"cms": "hunter2"})
    async with server:
        settings = _settings(server, **STARTTLS, **BASIC, NOTIFY_SMTP_CA_FILE=str(ca_file))
        findings = [finding async for finding in send_test(settings, TO)]
    assert [(finding.step, finding.mark, finding.text) for finding in findings[2:]] == [
        ("connect", Mark.OK, "TLSv1.3, LOGIN"),
        ("send", Mark.OK, "250 2.0.0 Ok: queued"),
    ]
    (mail,) = server.accepted
    assert (mail.sender, mail.recipients) == ("cms@example.com", ("ann@example.org",))
    assert b"Subject: Test mail from notify-worker" in mail.content
    assert b"This is a test mail." in mail.content
    assert b"hunter2" not in mail.content


async def test_a_test_mail_that_is_refused_says_why() -> None:
    """With the code a dead letter would have; the address is not repeated."""
    async with SmtpServer() as server:
        server.answer("RCPT", "550 5.1.1 <ann@example.org> No such user")
        findings = [finding async for finding in send_test(_settings(server), TO)]
    failed = _one(findings, Mark.FAILED)
    assert (failed.step, failed.code) == ("send", "recipient-refused")
    assert failed.detail == "550 5.1.1 <address> No such user"


@pytest.mark.parametrize(
    ("more", "step", "code"),
    [
        ({}, "connect", "smtp-unreachable"),
        ({"EmailSmtpUseOAuth2": "true"}, "plan", "oauth2-requires-tls"),
    ],
)
async def test_a_test_mail_that_does_not_get_away_says_where_it_ended(
    more: dict[str, str], step: str, code: str
) -> None:
    """And what comes after is not reached."""
    settings = _settings(SmtpServer(port=closed_port()), **more)
    findings = [finding async for finding in send_test(settings, TO)]
    failed = next(finding for finding in findings if finding.mark is Mark.FAILED)
    assert (failed.step, failed.code) == (step, code)
    assert (findings[-1].step, findings[-1].mark) == ("send", Mark.NOT_REACHED)


async def test_a_test_mail_without_a_from_address_is_not_sent(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OAuth2 the user name may be no address; it is no From then."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    tls = certified(authority)
    async with (
        TokenServer(tls, clients={"app": "s3cret"}) as idp,
        SmtpServer(tls=tls, mechanisms=("XOAUTH2",), tokens={"relay": "token-1"}) as server,
    ):
        more = {
            **OAUTH2,
            "EmailSmtpOAuth2TokenEndpoint": idp.url(),
            "NOTIFY_SMTP_CA_FILE": str(ca_file),
            "EmailSmtpUsername": "relay",
            "NOTIFY_DEFAULT_FROM": "",
        }
        findings = [finding async for finding in send_test(_settings(server, **more), TO)]
    assert (_one(findings, Mark.FAILED).step, _one(findings, Mark.FAILED).code) == ("send", "sender-missing")
