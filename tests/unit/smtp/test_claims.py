"""What a token tells of itself."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.smtp.claims import shortcoming


def _token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.c2ln"


@pytest.mark.parametrize(
    ("token", "lacks"),
    [
        (_token({"roles": ["SMTP.SendAsApp"]}), False),
        (_token({"roles": ["Mail.Read", "SMTP.SendAsApp"]}), False),
        (_token({"roles": ["Mail.Read"]}), True),
        (_token({"aud": "https://outlook.office365.com"}), True),
        (_token({"roles": None, "aud": "x"}), True),
        (_token([]), False),
        ("opaque", False),
        ("", False),
    ],
)
def test_a_token_without_the_sending_role_is_told(token: str, *, lacks: bool) -> None:
    """The commonest reason of a 535 at Exchange Online; a token that cannot be read tells nothing."""
    assert bool(shortcoming(token)) is lacks
    assert not lacks or "SMTP.SendAsApp" in shortcoming(token)


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_token_is_too_odd(token: str) -> None:
    """It is read out of curiosity only, so nothing about it may be an error; and it is never repeated."""
    assert len(token) < 20 or token not in shortcoming(token)
