"""The search for planted texts is awake: whatever form they are hidden in is found."""

import base64
import quopri
from email.message import EmailMessage
from urllib.parse import quote

import pytest

from tests.support.markers import found

MARKER = "M4rk/er+ÿ=?&~word"


@pytest.mark.parametrize(
    "haystack",
    [
        f'{{"detail": "{MARKER}"}}'.encode(),
        *(base64.b64encode(b"x" * n + MARKER.encode() + b"yz") for n in range(4)),
        *(base64.urlsafe_b64encode(b"x" * n + MARKER.encode() + b"yz") for n in range(4)),
        quopri.encodestring(b"z" * 70 + MARKER.encode()),
        quote(f"a b{MARKER}").encode(),
        quote(f"a b{MARKER}", safe="").lower().encode(),
        MARKER.encode().hex().encode(),
    ],
)
def test_a_marker_is_found_in_every_form(haystack: bytes) -> None:
    """At every alignment, in either alphabet, across line breaks."""
    assert found({"marker": MARKER}, {"there": haystack})


def test_what_holds_no_marker_is_clean() -> None:
    """Not even a long mail."""
    mail = EmailMessage()
    mail.set_content("Nothing here.\n" * 100, cte="base64")
    assert not found({"marker": MARKER}, {"mail": mail.as_bytes()})
