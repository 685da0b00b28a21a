"""The SMTP inbox: whatever it accepted lies in a file, whole, and stands in the index."""

import os
import smtplib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from deploy.local.child import Child
from deploy.local.inbox import INDEX, read_index

ROOT = Path(__file__).parents[3]


@contextmanager
def running_inbox(folder: Path) -> Iterator[tuple[Child, int]]:
    """An inbox as a process, and its port."""
    log = folder.with_name("inbox.log")
    command = [sys.executable, "-m", "deploy.local.inbox", "--port", "0", "--folder", str(folder)]
    with Child("the inbox", command, log=log, env=os.environ, cwd=ROOT) as inbox:
        inbox.wait_until(lambda: "ready at" in inbox.output, 20)
        yield inbox, int(inbox.output.partition("127.0.0.1:")[2].partition(",")[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where mails are stored."""
    return tmp_path / "inbox"


def mail(to: str, subject: str, language: str = "cy") -> EmailMessage:
    """A mail in some language."""
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "no-reply@contensis.example"
    message["To"] = to
    message["Subject"] = subject
    message.set_content("Helo Siân\n.\nA line that was a dot.\n")
    message["Content-Language"] = language
    return message


def test_a_mail_is_stored_as_sent_and_indexed(folder: Path) -> None:
    """The index has envelope, decoded subject, language and file; the file has the bytes, dots included."""
    sent = mail("d.pritchard@broddu.example", "Angen cymeradwyaeth: Tŷ Ŵyl").as_bytes()
    with running_inbox(folder) as (_, port), smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("no-reply@contensis.example", ["d.pritchard@broddu.example"], sent)
    (stored,) = read_index(folder)
    assert stored.model_dump() == {
        "number": 1,
        "sender": "no-reply@contensis.example",
        "to": ("d.pritchard@broddu.example",),
        "subject": "Angen cymeradwyaeth: Tŷ Ŵyl",
        "language": "cy",
        "file": "0001-d.pritchard@broddu.example.eml",
    }
    assert (folder / stored.file).read_bytes() == sent


def test_addresses_beyond_ascii_are_accepted(folder: Path) -> None:
    """SMTPUTF8 is offered (RFC 6531), and the address stands in the index as it was given."""
    with running_inbox(folder) as (_, port), smtplib.SMTP("127.0.0.1", port) as client:
        client.send_message(mail("siân@broddu.example", "Helo"))
    assert [stored.to for stored in read_index(folder)] == [("siân@broddu.example",)]


def test_no_recipient_gets_a_file_elsewhere(folder: Path) -> None:
    """An address is data: slashes and dots in it name no folder."""
    with running_inbox(folder) as (_, port), smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("", ["../../etc/passwd@broddu.example"], b"Subject: x\r\n\r\n")
    (stored,) = read_index(folder)
    assert stored.file == "0001-.._.._etc_passwd@broddu.example.eml"
    assert (folder / stored.file).exists()


def test_numbers_go_on_after_a_restart(folder: Path) -> None:
    """No mail of an earlier run is overwritten."""
    for subject in ("first", "second"):
        with running_inbox(folder) as (_, port), smtplib.SMTP("127.0.0.1", port) as client:
            client.send_message(mail("h.okafor@broddu.example", subject))
    assert [(stored.number, stored.subject) for stored in read_index(folder)] == [(1, "first"), (2, "second")]


def test_it_ends_with_sessions_still_open(folder: Path) -> None:
    """SIGTERM ends it at once and cleanly, although a pool of sessions is connected."""
    with running_inbox(folder) as (inbox, port), smtplib.SMTP("127.0.0.1", port) as client:
        client.ehlo()
        assert inbox.stop(patience_seconds=10) == 0
    assert "Traceback" not in inbox.output


def test_a_half_written_line_of_the_index_is_not_read(folder: Path) -> None:
    """Whoever watches the index sees whole mails only."""
    folder.mkdir()
    (folder / INDEX).write_text('{"number": 1, "from": "", "to"')
    assert read_index(folder) == []


def test_before_the_first_mail_the_index_is_empty(folder: Path) -> None:
    """A folder that is not there yet has no mails."""
    assert read_index(folder) == []
