"""The sentences of the vendor's page "Configuring SMTP for sending emails", letter for letter, once each.

Source: the guide's section Troubleshooting, page of 03 July 2026. For the rows without a quoted message the
sentence is the whole bullet.
"""

from typing import Final

OAUTH2_REQUIRES_TLS: Final = "OAuth2 authentication requires TLS"

OAUTH2_NOT_CONFIGURED: Final = (
    "OAuth2 is enabled but neither EmailSmtpOAuth2AzureTenantId nor EmailSmtpOAuth2TokenEndpoint is configured"
)

OAUTH2_USERNAME_UNKNOWN: Final = "Cannot determine OAuth2 username"

CONNECTION_FAILS: Final = (
    "Connection fails or times out: check that the port matches the encryption mode (465 for implicit SSL, "
    "587 for STARTTLS), that a firewall isn't blocking the port, and that your mail server supports TLS 1.2 "
    "or later."
)

AUTHENTICATION_UNSUCCESSFUL: Final = (
    "535 5.7.3 Authentication unsuccessful (Microsoft 365): usually a permissions issue with the app "
    "registration or service principal, or permissions that haven't propagated yet. See the troubleshooting "
    "section of Setting up OAuth2 SMTP authentication for Microsoft 365."
)
