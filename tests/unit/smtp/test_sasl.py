"""What a server repeats of a login is masked, however little of it there was room for."""

import base64
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.smtp.sasl import SHORTEST_PART, masked

PASSWORD: Final = "Tr0ub4dor&3 correct horse"
LINE: Final = base64.b64encode(f"\0cms\0{PASSWORD}".encode()).decode()
ENCODED: Final = base64.b64encode(PASSWORD.encode()).decode()
SECRETS: Final = (PASSWORD, LINE, ENCODED)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param(f"5.7.8 AUTH PLAIN {LINE} failed", "5.7.8 AUTH PLAIN <secret> failed", id="all of it"),
        pytest.param(f"AUTH PLAIN {LINE[:20]}... failed", "AUTH PLAIN <secret>... failed", id="its beginning"),
        pytest.param(f"...{LINE[-12:]} failed", "...<secret> failed", id="its end"),
        pytest.param(f"...{LINE[7:15]}...", "...<secret>...", id="eight characters"),
        pytest.param(f"...{LINE[7:14]}...", f"...{LINE[7:14]}...", id="seven"),
        pytest.param(f"got '{ENCODED[:-4]}'", "got '<secret>'", id="the password alone in base64"),
        pytest.param(f"{PASSWORD[:10]} is wrong", "<secret> is wrong", id="some of the password"),
        pytest.param(f"{LINE}{LINE} {LINE[:9]}", "<secret> <secret>", id="several times"),
        pytest.param("5.7.8 Authentication failed", "5.7.8 Authentication failed", id="nothing of it"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_what_is_repeated_of_a_login_is_masked(text: str, shown: str) -> None:
    """One row a way in which servers repeat it."""
    assert masked(text, SECRETS) == shown


@pytest.mark.parametrize(("secret", "shown"), [("", "a pass passes"), ("pass", "a <secret> <secret>es")])
def test_a_short_secret_is_masked_as_a_whole(secret: str, shown: str) -> None:
    """Nothing is left to tell it from; and without one nothing is masked."""
    assert masked("a pass passes", [secret]) == shown


@settings(max_examples=200, deadline=None)
@given(
    secret=st.text(min_size=SHORTEST_PART, max_size=60),
    start=st.integers(0, 60),
    size=st.integers(SHORTEST_PART, 60),
    around=st.tuples(st.text(max_size=20), st.text(max_size=20)),
)
def test_no_part_of_a_secret_is_left(secret: str, start: int, size: int, around: tuple[str, str]) -> None:
    """Wherever it was cut, and whatever stands around it."""
    start = min(start, len(secret) - SHORTEST_PART)
    shown = masked(around[0] + secret[start : start + size] + around[1], [secret]).split("<secret>")
    parts = {secret[at : at + SHORTEST_PART] for at in range(len(secret) - SHORTEST_PART + 1)}
    assert len(shown) > 1
    assert not any(part in left for left in shown for part in parts)
