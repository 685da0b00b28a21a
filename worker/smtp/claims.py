"""What a Microsoft Entra ID token tells of its own shortcomings, for people who wonder about a 535.

Nothing is decided by it: a token is the mail server's to read, and its form may change.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

SENDING_ROLE: Final = "SMTP.SendAsApp"


def shortcoming(token: str) -> str:
    """Why Exchange Online will refuse `token`, as a sentence; empty where it may not, or cannot be read."""
    claims = _claims(token)
    if not claims or SENDING_ROLE in _roles(claims):
        return ""
    return (
        f"The token has no role {SENDING_ROLE}, so Exchange Online will refuse it: give the app registration "
        f"the application permission {SENDING_ROLE} of Office 365 Exchange Online, and grant admin consent."
    )


def _roles(claims: Mapping[str, Any]) -> list[Any]:
    roles = claims.get("roles", [])
    return roles if isinstance(roles, list) else []


def _claims(token: str) -> Mapping[str, Any]:
    """The payload of a JSON Web Token (RFC 7519), unverified; empty where it is none."""
    _, _, rest = token.partition(".")
    payload = rest.partition(".")[0]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
