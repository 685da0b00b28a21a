"""The vendor's sentences, letter for letter: administrators search for them."""

import pytest

from contracts import error_texts
from contracts.dead_letter import ABOUT, Reason

CONNECTION_FAILS = (
    "Connection fails or times out: check that the port matches the encryption mode "
    "(465 for implicit SSL, 587 for STARTTLS), that a firewall isn't blocking the port, "
    "and that your mail server supports TLS 1.2 or later."
)
SENTENCES = {
    Reason.OAUTH2_REQUIRES_TLS: "OAuth2 authentication requires TLS",
    Reason.OAUTH2_NOT_CONFIGURED: (
        "OAuth2 is enabled but neither EmailSmtpOAuth2AzureTenantId "
        "nor EmailSmtpOAuth2TokenEndpoint is configured"
    ),
    Reason.OAUTH2_USERNAME_UNKNOWN: "Cannot determine OAuth2 username",
    Reason.SMTP_AUTHENTICATION_REFUSED: (
        "535 5.7.3 Authentication unsuccessful (Microsoft 365): usually a permissions issue with the app "
        "registration or service principal, or permissions that haven't propagated yet. "
        "See the troubleshooting section of Setting up OAuth2 SMTP authentication for Microsoft 365."
    ),
    Reason.SMTP_PORT_MISMATCH: CONNECTION_FAILS,
    Reason.SMTP_TLS_VERSION: CONNECTION_FAILS,
    Reason.SMTP_UNREACHABLE: CONNECTION_FAILS,
}
"""Code -> its sentence in the guide's section Troubleshooting."""

HINTS = {
    Reason.OAUTH2_REQUIRES_TLS: (
        "EmailSmtpUseOAuth2 is true but neither SSL setting is enabled. "
        "Set EmailSmtpUseSSL to true (or EmailSmtpUseImplicitSSL for SSL-on-connect providers)."
    ),
    Reason.OAUTH2_NOT_CONFIGURED: (
        "Fill in the tenant ID (Microsoft 365) or the token endpoint (other providers)."
    ),
    Reason.OAUTH2_USERNAME_UNKNOWN: (
        "OAuth2 is enabled, EmailSmtpUsername is empty, and the email has no From address. "
        "Set EmailSmtpUsername to the sending mailbox's address."
    ),
}
"""Code -> what the guide says to do about a quoted message."""


@pytest.mark.parametrize("reason", SENTENCES)
def test_a_documented_sentence_is_the_guide_s(reason: Reason) -> None:
    """No word is ours where the guide has words."""
    assert ABOUT[reason].text == SENTENCES[reason]


@pytest.mark.parametrize("reason", HINTS)
def test_a_documented_remedy_is_the_guide_s(reason: Reason) -> None:
    """The quoted messages come with what to do."""
    assert ABOUT[reason].hint == HINTS[reason]


def test_every_sentence_is_used() -> None:
    """One constant each, and none that nobody says."""
    constants = {value for name, value in vars(error_texts).items() if name.isupper()}
    assert constants == set(SENTENCES.values())


def test_no_other_code_borrows_a_documented_sentence() -> None:
    """Else the guide would send people to the wrong setting."""
    assert {reason for reason in Reason if ABOUT[reason].text in SENTENCES.values()} == set(SENTENCES)
