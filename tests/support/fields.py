"""The header fields of a mail."""

from typing import Final

FIELDS: Final = (
    "Date",
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Language",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "X-Contensis-Event-Id",
    "Content-Type",
)
"""All that a mail may have, in this order."""
