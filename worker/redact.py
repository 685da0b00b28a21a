"""The one place where addresses, links and secrets are taken out of text that operators will see.

Server replies and exceptions repeat what they were given; dead letters, logs and spans must not.
"""

import re
from collections.abc import Iterable
from typing import Final

_RULES: Final = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 <secret>"),
    (re.compile(r"(?i)\b(https?://[^\s/?#\"'<>]+)[^\s\"'<>]*"), r"\1/<link>"),
    (re.compile(r"(?i)\b(amqps?://)[^\s/@]*@"), r"\1<secret>@"),
    # An address begins where a run of its characters begins: without that, a long run costs its square.
    (re.compile(r"<?(?<![^\s<>@,;:()\"'])[^\s<>@,;:()\"']++@[^\s<>@,;:()\"']+>?"), "<address>"),
)
SHORTEST_SECRET: Final = 4
LONGEST_TEXT: Final = 16 * 1024
"""What is longer is cut before it is searched; nobody reads it, and searching costs time."""


class Redactor:
    """Takes known `secrets` and anything that looks like an address, link or token out of a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._secrets: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Takes `secrets` out as well from now on."""
        self._known |= {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        longest_first = sorted(self._known, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """`text` on one line, with `<address>`, `<link>` and `<secret>` in place of what they name."""
        text = text[:LONGEST_TEXT]
        if self._secrets:
            text = self._secrets.sub("<secret>", text)
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return " ".join(text.split())
