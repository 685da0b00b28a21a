"""The guide's sentences about the settings, one row each."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from contracts import error_texts
from contracts.dead_letter import Reason
from contracts.smtp_settings import SmtpSettings
from worker.smtp.plan import (
    Anonymous,
    Basic,
    ConfigurationError,
    ConnectionPlan,
    Encryption,
    OAuth2,
    faults,
    plan,
    warnings,
)

SENDER: Final = "no-reply@contensis.com"
STARTTLS: Final = {"EmailSmtpPort": 587, "EmailSmtpUseSSL": True}
BASIC: Final = {"EmailSmtpUsername": "cms", "EmailSmtpPassword": "s3cret"}
CLIENT: Final = {"EmailSmtpOAuth2ClientId": "app", "EmailSmtpOAuth2ClientSecret": "s3cret"}
MICROSOFT: Final = {
    "EmailSMTPHost": "smtp.office365.com",
    **STARTTLS,
    "EmailSmtpUseOAuth2": True,
    "EmailSmtpOAuth2AzureTenantId": "0f1e-tenant",
    **CLIENT,
}
OTHER: Final = {
    **STARTTLS,
    "EmailSmtpUseOAuth2": True,
    "EmailSmtpOAuth2TokenEndpoint": "https://idp.example/token",
    **CLIENT,
}
MICROSOFT_ENDPOINT: Final = "https://login.microsoftonline.com/0f1e-tenant/oauth2/v2.0/token"
MICROSOFT_SCOPE: Final = "https://outlook.office365.com/.default"


def _settings(*parts: dict[str, Any], **more: Any) -> SmtpSettings:
    merged: dict[str, Any] = {}
    for part in (*parts, more):
        merged |= part
    return SmtpSettings(**merged)


def _oauth2(**changes: Any) -> OAuth2:
    values: dict[str, Any] = {
        "username": SENDER,
        "client_id": "app",
        "client_secret": SecretStr("s3cret"),
        "token_endpoint": MICROSOFT_ENDPOINT,
        "scope": MICROSOFT_SCOPE,
    }
    return OAuth2(**(values | changes))


ENCRYPTIONS: Final = {
    "UseImplicitSSL true: encrypted from the moment it opens": (True, False, Encryption.IMPLICIT),
    "UseSSL true: starts in plain text and is upgraded": (False, True, Encryption.STARTTLS),
    "Both false: everything is sent in plain text": (False, False, Encryption.NONE),
    "Both true: UseImplicitSSL takes precedence": (True, True, Encryption.IMPLICIT),
}


@pytest.mark.parametrize(("implicit", "starttls", "encryption"), ENCRYPTIONS.values(), ids=ENCRYPTIONS)
def test_two_settings_decide_the_encryption(*, implicit: bool, starttls: bool, encryption: Encryption) -> None:
    """The guide's table in the section Encryption; the port has no say in it."""
    for port in (25, 465, 587):
        settings = _settings(EmailSmtpPort=port, EmailSmtpUseImplicitSSL=implicit, EmailSmtpUseSSL=starttls)
        assert plan(settings, SENDER).encryption is encryption
        assert plan(settings, SENDER).port == port


AUTHENTICATIONS: Final[dict[str, tuple[dict[str, Any], Any]]] = {
    "OAuth2: used if EmailSmtpUseOAuth2 is true": (MICROSOFT, _oauth2()),
    "OAuth2 comes before username and password": (MICROSOFT | BASIC, _oauth2(username="cms")),
    "Basic: OAuth2 is off and both are set": (BASIC, Basic("cms", SecretStr("s3cret"))),
    "If OAuth2 is off its settings do nothing": (
        MICROSOFT | BASIC | {"EmailSmtpUseOAuth2": False},
        Basic("cms", SecretStr("s3cret")),
    ),
    "If the password is empty: anonymously": ({"EmailSmtpUsername": "cms"}, Anonymous()),
    "If the username is empty: anonymously": ({"EmailSmtpPassword": "s3cret"}, Anonymous()),
    "Anonymous: if neither of the above applies": ({}, Anonymous()),
    "Tenant set: Microsoft Entra ID for that tenant": (MICROSOFT, _oauth2()),
    "Scope can be left empty with a tenant": (MICROSOFT | {"EmailSmtpOAuth2Scope": ""}, _oauth2()),
    "Scope set with a tenant is used": (MICROSOFT | {"EmailSmtpOAuth2Scope": "own"}, _oauth2(scope="own")),
    "TokenEndpoint is ignored when a tenant is set": (
        MICROSOFT | {"EmailSmtpOAuth2TokenEndpoint": "https://idp.example/token"},
        _oauth2(),
    ),
    "TokenEndpoint is ignored even if it is not https": (
        MICROSOFT | {"EmailSmtpOAuth2TokenEndpoint": "http://idp.example/token"},
        _oauth2(),
    ),
    "Other providers: a token directly from that endpoint": (
        OTHER | {"EmailSmtpOAuth2Scope": "mail.send smtp"},
        _oauth2(token_endpoint="https://idp.example/token", scope="mail.send smtp"),
    ),
    "The default scope applies only with a tenant": (
        OTHER,
        _oauth2(token_endpoint="https://idp.example/token", scope=""),
    ),
    "OAuth2 username: EmailSmtpUsername, if set": (
        MICROSOFT | {"EmailSmtpUsername": "box@example.com"},
        _oauth2(username="box@example.com"),
    ),
    "OAuth2 username: else the From address": (MICROSOFT, _oauth2(username=SENDER)),
    "EmailSmtpPassword is not used when OAuth2 is enabled": (
        MICROSOFT | {"EmailSmtpPassword": "s3cret"},
        _oauth2(),
    ),
}


@pytest.mark.parametrize(("settings", "expected"), AUTHENTICATIONS.values(), ids=AUTHENTICATIONS)
def test_settings_decide_the_authentication(settings: dict[str, Any], expected: Any) -> None:
    """The guide's sections Authentication and OAuth2."""
    assert plan(_settings(settings), SENDER).authentication == expected


HOSTS: Final = {
    "smtp.example.com": "smtp.example.com",
    "192.0.2.25": "192.0.2.25",
    "2001:db8::25": "2001:db8::25",
    "[2001:db8::25]": "2001:db8::25",
    " mail.example.com\u00a0": "mail.example.com",
}


@pytest.mark.parametrize(("given", "host"), HOSTS.items())
def test_the_host_may_be_a_name_or_an_address(given: str, host: str) -> None:
    """The guide: the hostname or IP address of your SMTP server. People put brackets around IPv6."""
    assert plan(_settings(EmailSMTPHost=given), SENDER).host == host


def test_the_defaults_send_through_the_vendors_server() -> None:
    """The guide: this combination works out of the box."""
    expected = ConnectionPlan("smtp.zengenti.com", 25, Encryption.NONE, Anonymous())
    assert plan(SmtpSettings(), SENDER) == expected


R = Reason
NO_TLS: Final = {"EmailSmtpUseSSL": False, "EmailSmtpUseImplicitSSL": False}
FAULTS: Final[dict[str, tuple[dict[str, Any], str | None, Reason]]] = {
    "OAuth2 requires an encrypted connection": (MICROSOFT | NO_TLS, SENDER, R.OAUTH2_REQUIRES_TLS),
    "neither tenant nor endpoint is set": (
        STARTTLS | {"EmailSmtpUseOAuth2": True} | CLIENT,
        SENDER,
        R.OAUTH2_NOT_CONFIGURED,
    ),
    "an endpoint of spaces is not set": (
        OTHER | {"EmailSmtpOAuth2TokenEndpoint": " "},
        SENDER,
        R.OAUTH2_NOT_CONFIGURED,
    ),
    "TokenEndpoint must be HTTPS": (
        OTHER | {"EmailSmtpOAuth2TokenEndpoint": "http://idp.example/token"},
        SENDER,
        R.OAUTH2_ENDPOINT_NOT_HTTPS,
    ),
    "TokenEndpoint must be a URL": (
        OTHER | {"EmailSmtpOAuth2TokenEndpoint": "idp.example/token"},
        SENDER,
        R.OAUTH2_ENDPOINT_NOT_HTTPS,
    ),
    "TokenEndpoint must have a host": (
        OTHER | {"EmailSmtpOAuth2TokenEndpoint": "https:///token"},
        SENDER,
        R.OAUTH2_ENDPOINT_NOT_HTTPS,
    ),
    "TokenEndpoint must be a possible URL": (
        OTHER | {"EmailSmtpOAuth2TokenEndpoint": "https://[idp/token"},
        SENDER,
        R.OAUTH2_ENDPOINT_NOT_HTTPS,
    ),
    "ClientId is required": (
        MICROSOFT | {"EmailSmtpOAuth2ClientId": ""},
        SENDER,
        R.OAUTH2_CLIENT_MISSING,
    ),
    "ClientSecret is required": (
        OTHER | {"EmailSmtpOAuth2ClientSecret": ""},
        SENDER,
        R.OAUTH2_CLIENT_MISSING,
    ),
    "no username and no From address": (MICROSOFT, None, R.OAUTH2_USERNAME_UNKNOWN),
    "no username and an empty From address": (MICROSOFT, "", R.OAUTH2_USERNAME_UNKNOWN),
    "no From address and no OAuth2": (BASIC, None, R.SENDER_MISSING),
    "no From address, anonymously": ({}, "", R.SENDER_MISSING),
    "the host is empty": ({"EmailSMTPHost": " "}, SENDER, R.SMTP_HOST_MISSING),
    "the host is empty with OAuth2": (MICROSOFT | {"EmailSMTPHost": ""}, SENDER, R.SMTP_HOST_MISSING),
}


@pytest.mark.parametrize(("settings", "sender", "reason"), FAULTS.values(), ids=FAULTS)
def test_settings_with_which_sending_fails(
    settings: dict[str, Any], sender: str | None, reason: Reason
) -> None:
    """The guide's section Troubleshooting and its requirements; nothing else is wrong in these rows."""
    with pytest.raises(ConfigurationError) as caught:
        plan(_settings(settings), sender)
    assert caught.value.reason is reason
    assert [fault.reason for fault in faults(_settings(settings), sender)] == [reason]


def test_a_fault_names_the_settings_that_are_empty() -> None:
    """An administrator is not sent to a setting that is right."""
    for name in CLIENT:
        (fault,) = faults(_settings(MICROSOFT, {name: ""}), SENDER)
        assert fault.settings == (name,)


def test_the_documented_sentences_are_the_guides() -> None:
    """Letter for letter, since people search for them."""
    spoken = {str(fault) for fault in faults(_settings(EmailSmtpUseOAuth2=True), None)}
    assert spoken >= {
        error_texts.OAUTH2_REQUIRES_TLS,
        error_texts.OAUTH2_NOT_CONFIGURED,
        error_texts.OAUTH2_USERNAME_UNKNOWN,
    }


def test_several_faults_come_in_a_fixed_order() -> None:
    """The TLS one speaks first; what the settings decide for every mail comes before what one mail lacks."""
    found = [fault.reason for fault in faults(_settings(EmailSmtpUseOAuth2=True, EmailSMTPHost=""), None)]
    assert found == [
        R.OAUTH2_REQUIRES_TLS,
        R.OAUTH2_NOT_CONFIGURED,
        R.OAUTH2_CLIENT_MISSING,
        R.SMTP_HOST_MISSING,
        R.OAUTH2_USERNAME_UNKNOWN,
    ]
    everything = _settings(OTHER, NO_TLS, EmailSmtpOAuth2TokenEndpoint="http://x", EmailSmtpOAuth2ClientId="")
    assert [fault.reason for fault in faults(everything, SENDER)] == [
        R.OAUTH2_REQUIRES_TLS,
        R.OAUTH2_ENDPOINT_NOT_HTTPS,
        R.OAUTH2_CLIENT_MISSING,
    ]
    anonymous = [fault.reason for fault in faults(_settings(EmailSMTPHost=""), None)]
    assert anonymous == [R.SMTP_HOST_MISSING, R.SENDER_MISSING]


def test_oauth2_with_a_username_needs_no_from_address() -> None:
    """The guide's last troubleshooting row: set EmailSmtpUsername to the sending mailbox's address."""
    planned = plan(_settings(MICROSOFT, EmailSmtpUsername="box@example.com"), None)
    assert planned.authentication == _oauth2(username="box@example.com")


@pytest.mark.parametrize("sender", [SENDER, f"Contensis <{SENDER}>", f'"Doe, Jane" <{SENDER}>', f"<{SENDER}>"])
def test_the_mailbox_is_the_bare_from_address(sender: str) -> None:
    """A display name is no part of the mailbox."""
    assert plan(_settings(MICROSOFT), sender).authentication == _oauth2()


@pytest.mark.parametrize("authority", ["https://login.example.us", "https://login.example.us/"])
def test_national_clouds_have_their_own_authority(authority: str) -> None:
    """The path is the same in every cloud."""
    planned = plan(_settings(MICROSOFT), SENDER, entra_authority=authority).authentication
    assert planned == _oauth2(token_endpoint="https://login.example.us/0f1e-tenant/oauth2/v2.0/token")


@given(tenant=st.text(min_size=1).filter(str.strip))
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_tenant_stays_within_its_part_of_the_url(tenant: str) -> None:
    """Whatever is pasted, the secret goes to the authority, and to its token path."""
    planned = plan(_settings(MICROSOFT, EmailSmtpOAuth2AzureTenantId=tenant), SENDER).authentication
    assert isinstance(planned, OAuth2)
    parts = planned.token_endpoint.split("/")
    assert (parts[:3], parts[4:]) == (
        ["https:", "", "login.microsoftonline.com"],
        ["oauth2", "v2.0", "token"],
    )
    assert not set(parts[3]) & set("?#@ ")


def test_sessions_are_shared_by_login() -> None:
    """Mails from different mailboxes share sessions exactly if they log in the same way."""

    def login(sender: str, **changes: Any) -> object:
        return plan(_settings(MICROSOFT, changes), sender)

    assert login("a@example.com") != login("b@example.com")
    assert login("a@example.com", EmailSmtpUsername="c@example.com") == login(
        "b@example.com", EmailSmtpUsername="c@example.com"
    )
    for name, value in (("EmailSmtpPort", 25), ("EmailSmtpOAuth2ClientSecret", "rotated")):
        assert login("a@example.com") != login("a@example.com", **{name: value})
    assert len({login("a@example.com"), login("a@example.com")}) == 1
    assert plan(_settings(), "a@example.com") == plan(_settings(), "b@example.com")


@pytest.mark.parametrize("settings", [BASIC, MICROSOFT, OTHER], ids=["basic", "microsoft", "other"])
def test_no_secret_is_in_a_plan_or_a_fault(settings: dict[str, Any]) -> None:
    """Plans and faults may end up in a log."""
    planned = plan(_settings(settings), SENDER)
    assert "s3cret" not in f"{planned} {planned!r}"
    for fault in faults(_settings(settings, NO_TLS), None):
        assert "s3cret" not in f"{fault} {fault!r} {fault.hint}"


PORT_WARNING: Final = "EmailSmtpPort does not match"
WARNINGS: Final[dict[str, tuple[dict[str, Any], list[str]]]] = {
    "the defaults": ({}, []),
    "Microsoft 365 with OAuth2 (recommended)": (MICROSOFT, []),
    "username and password over STARTTLS": (STARTTLS | BASIC, []),
    "username and password over implicit SSL": (
        {"EmailSmtpPort": 465, "EmailSmtpUseImplicitSSL": True} | BASIC,
        [],
    ),
    "internal mail relay, no authentication": ({"EmailSMTPHost": "mailrelay.internal.example.com"}, []),
    "If either is empty: anonymously (no password)": (
        {"EmailSmtpUsername": "cms"},
        ["Only one of EmailSmtpUsername and EmailSmtpPassword"],
    ),
    "If either is empty: anonymously (no username)": (
        {"EmailSmtpPassword": "s3cret"},
        ["Only one of EmailSmtpUsername and EmailSmtpPassword"],
    ),
    "with OAuth2 a username alone is in order": (MICROSOFT | {"EmailSmtpUsername": "box@example.com"}, []),
    "otherwise your credentials are sent in plain text": (BASIC, ["are sent in plain text"]),
    "Microsoft has retired basic authentication": (
        STARTTLS | BASIC | {"EmailSMTPHost": "SMTP.Office365.com"},
        ["Microsoft has retired basic authentication"],
    ),
    "implicit SSL still at port 587": (
        {"EmailSmtpPort": 587, "EmailSmtpUseImplicitSSL": True},
        [PORT_WARNING],
    ),
    "STARTTLS against port 465": ({"EmailSmtpPort": 465, "EmailSmtpUseSSL": True}, [PORT_WARNING]),
    "STARTTLS at the default port": ({"EmailSmtpUseSSL": True}, [PORT_WARNING]),
    "no encryption at port 465": ({"EmailSmtpPort": 465}, [PORT_WARNING]),
    "a port of one's own": ({"EmailSmtpPort": 2525, "EmailSmtpUseSSL": True}, []),
    "Scope is usually required for other providers": (OTHER, ["EmailSmtpOAuth2Scope is empty"]),
    "several at once": (
        {"EmailSmtpPort": 587, "EmailSMTPHost": "smtp.office365.com"} | BASIC,
        ["are sent in plain text", "Microsoft has retired", PORT_WARNING],
    ),
}


@pytest.mark.parametrize(("settings", "expected"), WARNINGS.values(), ids=WARNINGS)
def test_what_works_but_should_be_known_is_warned_of(settings: dict[str, Any], expected: list[str]) -> None:
    """The guide's advice, and its common configurations without a word."""
    given = warnings(_settings(settings))
    assert len(given) == len(expected)
    for sentence, part in zip(given, expected, strict=True):
        assert part in sentence
        assert "s3cret" not in sentence
