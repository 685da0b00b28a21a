"""What is shown of a body and of headers without --reveal."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.desk.test_letter import OURS, read
from worker.desk import veil

EXAMPLES = sorted((Path(__file__).parents[3] / "contracts" / "examples").glob("*.json"))


def veiled(body: object) -> Any:
    """The masked body of a letter."""
    return veil.body(read(body=json.dumps(body).encode()))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_no_address_or_link_of_an_example_is_shown(example: Path) -> None:
    """The keys are the same."""
    event = json.loads(example.read_text("utf-8"))
    shown = veiled(event)
    assert "@" not in json.dumps(shown)
    assert "https://" not in json.dumps(shown).replace("/<link>", "").replace("https://cms", "")
    assert shown.keys() == event.keys()
    assert (shown["id"], shown["type"]) == (event["id"], event["type"])


def test_every_answer_of_a_form_is_masked() -> None:
    """Numbers and choices are answers too."""
    shown = veiled({"response": {"age": 7, "member": True, "id": "x", "many": ["a"], "in": {"state": "b"}}})
    assert shown == {
        "response": {
            "age": "<int>",
            "member": "<bool>",
            "id": "<1 characters>",
            "many": ["<1 characters>"],
            "in": {"state": "<1 characters>"},
        }
    }


@given(secret=st.text(min_size=12, max_size=20, alphabet="QXZqxz"), key=st.text(max_size=8))
def test_a_text_under_a_key_that_is_not_named_is_never_shown(secret: str, key: str) -> None:
    """Nothing is shown because somebody forgot to name it."""
    if key not in veil.SHOWN:
        assert secret not in json.dumps(veiled({"data": {key: [secret, {key: secret}]}}))


def test_what_is_no_json_is_counted() -> None:
    """Not a byte of it is shown."""
    assert veil.body(read(body=b"secret")) == "<6 bytes, not JSON>"


def test_headers_of_publishers_are_masked() -> None:
    """Those of the worker and the broker are shown, redacted."""
    shown = veil.headers(
        read(headers={**OURS, "token": "hunter2", "notify-detail": "550 ada@example.org\x1b[2J"})
    )
    assert shown["token"] == "<7 characters>"
    assert shown["notify-detail"].startswith("550 <address>")
    assert "ada@" not in str(shown)
    assert "\x1b" not in shown["notify-detail"]
    assert shown["notify-code"] == OURS["notify-code"]


def test_what_cannot_be_printed_does_not_end_the_command() -> None:
    """Lone surrogates are legal in JSON, and nowhere else."""
    shown = veil.body(read(body=b'{"\\ud800": "\\udfff", "id": "\\ud800\\u009b"}'))
    assert shown == {"?": "<1 characters>", "id": "??"}
    assert veil.revealed(read(body=b'"\\ud800"')) == "?"
    assert veil.revealed(read(body=b"\xff")) == "\N{REPLACEMENT CHARACTER}"
