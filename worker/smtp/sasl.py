"""Logging in: which mechanism, what the client says with it, and what the server makes of it (RFC 4954)."""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from aiosmtplib import SMTP, SMTPStatus

from contracts.dead_letter import Reason
from worker.errors import PermanentError
from worker.smtp.border import speaking
from worker.smtp.oauth2 import Token
from worker.smtp.plan import Anonymous, Authentication, Basic, OAuth2
from worker.smtp.replies import Phase, Reply, judge

SHORTEST_PART: Final = 8
_HIDDEN: Final = "\ufdd0"
"""A character that is none, so no server says it."""


async def log_in(smtp: SMTP, who: Authentication, token: Token | None) -> str:
    """One login by the first mechanism that the server and the settings share; returns its name.

    Anonymous sessions have none. `token` is there with OAuth2. Raises PermanentError or TransientError.
    """
    if isinstance(who, Anonymous):
        return ""
    mechanism = _mechanism(who, smtp.server_auth_methods)
    secret = _secret(who, token)
    lines = [_base64(line) for line in _SASL[mechanism](who.username, secret)]
    with speaking(Phase.AUTH):
        reply = await _converse(smtp, mechanism, lines)
    if reply.code != SMTPStatus.auth_successful:
        said = (secret, *(line.decode() for line in (*lines, _base64(secret))))
        raise judge(Phase.AUTH, Reply(reply.code, masked(reply.text, said)))
    return mechanism


def _mechanism(who: Basic | OAuth2, offered: Sequence[str]) -> str:
    usable = ("plain", "login") if isinstance(who, Basic) else ("xoauth2", "oauthbearer")
    for mechanism in usable:
        if mechanism in offered:
            return mechanism
    needed, given = " or ".join(usable), ", ".join(offered) or "nothing"
    raise PermanentError(Reason.SMTP_AUTHENTICATION_MISSING, f"needed for AUTH: {needed}; offered: {given}")


def _secret(who: Basic | OAuth2, token: Token | None) -> str:
    if isinstance(who, Basic):
        return who.password.get_secret_value()
    if token is None:
        raise TypeError("a login with OAuth2 needs a token")
    return token.value.get_secret_value()


async def _converse(smtp: SMTP, mechanism: str, lines: Sequence[bytes]) -> Reply:
    """AUTH with all the client has to say, and the server's last word with its challenge decoded."""
    command = b"AUTH", mechanism.upper().encode()
    initial = () if mechanism == "login" else lines[:1]
    response = await smtp.execute_command(*command, *initial)
    rest = lines[len(initial) :]
    if initial and response.code in _TAKES_NO_INITIAL_RESPONSE:
        response, rest = await smtp.execute_command(*command), lines
    challenge = ""
    for line in rest:
        if response.code != SMTPStatus.auth_continue:
            break
        challenge = response.message
        response = await smtp.execute_command(line)
    return Reply(response.code, f"{response.message} {_reason_in(challenge)}".rstrip())


def _base64(line: str) -> bytes:
    # A password from the environment may hold bytes that are no UTF-8: they go as they came.
    return base64.b64encode(line.encode(errors="surrogateescape"))


def _reason_in(challenge: str) -> str:
    """The JSON by which XOAUTH2 and OAUTHBEARER say why a token is refused."""
    try:
        decoded = base64.b64decode(challenge, validate=True).decode()
    except ValueError:
        return ""
    return decoded if decoded.startswith("{") else ""


def masked(text: str, secrets: Iterable[str]) -> str:
    """`text` with `<secret>` in place of all of `secrets`, and of parts of them from 8 characters on.

    Some servers repeat what they refuse: the command, or as much of it as there is room for.
    """
    shown = list(text)
    for secret in filter(None, secrets):
        size = min(len(secret), SHORTEST_PART)
        parts = set(_runs(secret, size))
        for at, run in enumerate(_runs(text, size)):
            if run in parts:
                shown[at : at + size] = _HIDDEN * size
    return re.sub(f"{_HIDDEN}+", "<secret>", "".join(shown))


def _runs(text: str, size: int) -> Iterator[str]:
    """All runs of `size` characters in `text`."""
    return (text[at : at + size] for at in range(len(text) - size + 1))


def _saslname(user: str) -> str:
    return user.replace("=", "=3D").replace(",", "=2C")


_TAKES_NO_INITIAL_RESPONSE: Final = {
    SMTPStatus.unrecognized_parameters,
    SMTPStatus.parameter_not_implemented,
}

_SASL: Final[Mapping[str, Callable[[str, str], tuple[str, ...]]]] = {
    "plain": lambda user, password: (f"\0{user}\0{password}",),
    "login": lambda user, password: (user, password),
    # The second line answers the challenge in which the server explains a refusal.
    "xoauth2": lambda user, token: (f"user={user}\1auth=Bearer {token}\1\1", ""),
    "oauthbearer": lambda user, token: (f"n,a={_saslname(user)},\1auth=Bearer {token}\1\1", "\1"),
}
"""What the client says with each mechanism, given user and secret, before base64."""
