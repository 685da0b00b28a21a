"""The twelve documented SMTP settings: exact names, types and defaults of the guide. Decides nothing.

What the settings mean together is decided by `worker.smtp.plan`.
"""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class SmtpSettings(BaseModel):
    """The guide's "Settings reference", row by row. Text settings are empty when not set."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    EmailSMTPHost: Annotated[
        str,
        Field(
            description="Hostname or IP address of the SMTP server. Defaults to Zengenti's SMTP server. "
            "Change this to your own server to send from your own domain."
        ),
    ] = "smtp.zengenti.com"
    EmailSmtpPort: Annotated[
        int,
        Field(
            ge=1,
            le=65535,
            description="Port to connect on. Use 465 for implicit SSL, 587 for STARTTLS, 25 for unencrypted.",
        ),
    ] = 25
    EmailSmtpUseImplicitSSL: Annotated[
        bool,
        Field(description="Enables implicit SSL/TLS (SSL on connect). Takes precedence over EmailSmtpUseSSL."),
    ] = False
    EmailSmtpUseSSL: Annotated[bool, Field(description="Enables explicit SSL/TLS (STARTTLS).")] = False
    EmailSmtpUsername: Annotated[
        str,
        Field(
            description="Username for basic authentication. "
            "With OAuth2, used as the mailbox to authenticate as."
        ),
    ] = ""
    EmailSmtpPassword: Annotated[
        SecretStr,
        Field(description="Password for basic authentication. Not used when OAuth2 is enabled."),
    ] = SecretStr("")
    EmailSmtpUseOAuth2: Annotated[
        bool,
        Field(
            description="Switches SMTP authentication to OAuth2. "
            "Requires one of the SSL/TLS settings to be enabled."
        ),
    ] = False
    EmailSmtpOAuth2AzureTenantId: Annotated[
        str,
        Field(
            description="Microsoft Entra ID tenant ID. Set for Microsoft 365; leave empty for other providers."
        ),
    ] = ""
    EmailSmtpOAuth2TokenEndpoint: Annotated[
        str,
        Field(
            description="Token endpoint URL for non-Microsoft providers (HTTPS required). "
            "Ignored when a tenant ID is set."
        ),
    ] = ""
    EmailSmtpOAuth2ClientId: Annotated[
        str,
        Field(description="The Application (client) ID from your provider's app registration."),
    ] = ""
    EmailSmtpOAuth2ClientSecret: Annotated[
        SecretStr,
        Field(description="The client secret from your provider's app registration."),
    ] = SecretStr("")
    EmailSmtpOAuth2Scope: Annotated[
        str,
        Field(
            description="Scope(s) to request, space-separated. Optional for Microsoft 365 (defaults to "
            "https://outlook.office365.com/.default); usually required for other providers."
        ),
    ] = ""


SMTP_SETTING_NAMES: Final = tuple(SmtpSettings.model_fields)
