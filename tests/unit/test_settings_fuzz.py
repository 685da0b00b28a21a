"""A settings file of any lines: sentences and exit code 2, or settings that the worker can start with."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner
from yarl import URL

from tests.support.scale import cases
from worker.cli import app
from worker.service import default_sender
from worker.settings import Settings, load
from worker.smtp.plan import faults, warnings

_KNOWN: Final = tuple(load({}).sources)
_CASES: Final = st.sampled_from([str, str.lower, str.upper, str.swapcase])
_NAMES: Final = st.one_of(
    st.sampled_from(_KNOWN),
    st.sampled_from(_KNOWN),
    st.builds(lambda name, case: case(name), st.sampled_from(_KNOWN), _CASES),
    st.builds(lambda name, odd: name + odd, st.sampled_from(_KNOWN), st.text(max_size=3)),
    st.text(max_size=30),
    st.sampled_from(["export EmailSMTPHost", "EmailSmtp", "NOTIFY_", "NOTIFY_SETTINGS_FILE", "[smtp]"]),
)
_VALUES: Final = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "true",
            "FALSE",
            "yes",
            "(empty)",
            "<x>",
            '"quoted"',
            "'",
            "587",
            "0",
            "-1",
            "65536",
            "1e3",
            "٥٨٧",
            "9" * 5000,
            "mail.example.com",
            "https://mail.example.com",
            "[::1]",
            "::1",
            "a..b",
            "xn--",
            "\u2028\u202e\x00",
            "a@b.example",
            "A <a@b.example>, <b@b.example>",
            "\u00e9@\u00e9.example",
            "https://[",
            "https://a:b@c/",
            "https://\x00/",
            "https://login.example/\u00e9 x",
            "amqp://",
            "amqp://a:b@c:99999/",
            "amqp://a:p%40ss@c:5672/%2Fv",
            "amqp://a:p%zz@c",
            "amqps://[::1]:5671/v?heartbeat=x",
            "amqp://[::1",
            "amqp://h\u00f6st/",
            "amqp://a_b/?x=1;2&&",
            "/",
            "/dev/null",
            "/proc/self/mem",
            "\\\\share\\x",
            ".",
            "~",
            "x" * 5000,
        ]
    ),
)
_LINES: Final = st.one_of(
    st.builds(
        "{}{}{}".format, _NAMES, st.sampled_from([" = ", "=", ": ", "\u00a0=\u00a0", "\t= ", ""]), _VALUES
    ),
    st.builds("{} = {}".format, st.sampled_from(_KNOWN), _VALUES),
    st.sampled_from(["", "# comment", "JavaScript", "\ufeff", "\x00", "=", "= x", "```"]),
)
_ENDS: Final = st.sampled_from(["\n", "\r\n", "\r", "\x85", "\u2028"])
_ENCODINGS: Final = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
FILES: Final = st.builds(
    lambda lines, end, encoding: end.join(lines).encode(encoding, errors="replace"),
    st.lists(_LINES, max_size=8),
    _ENDS,
    _ENCODINGS,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to be written anew for each example."""
    return tmp_path_factory.mktemp("settings") / "any.conf"


@settings(max_examples=cases(300, 5_000), deadline=None)
@given(content=FILES)
def test_any_file_is_settings_or_is_refused_in_sentences(content: bytes, path: Path) -> None:
    """Exit code 2 and a sentence a fault, never a traceback; or all is there that a start needs."""
    path.write_bytes(content)
    told = CliRunner().invoke(app, ["settings", "--json", "--settings", str(path)], env={})
    assert told.exception is None or isinstance(told.exception, SystemExit)
    if told.exit_code == 0:
        _assert_usable(load({}, path))
    else:
        assert told.exit_code == 2
        first, *sentences = told.stderr.splitlines()
        assert (first, told.stdout) == ("The settings cannot be read:", "")
        assert sentences
        assert all(sentence.isprintable() for sentence in sentences)


def _assert_usable(known: Settings) -> None:
    sender = default_sender(known)
    assert all(map(str, faults(known.smtp, sender.address if sender else None)))
    assert all(warnings(known.smtp))
    assert URL(known.worker.broker_url.get_secret_value()).host
