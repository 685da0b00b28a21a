"""What was sent is what arrives: read by Python's parser and by an unrelated one, of hostile events too."""

import base64
import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any, Final

import pytest
from pydantic import ValidationError

from tests.support.examples import NAMES, event_of, example
from tests.support.node import READER, node_for
from worker import mime
from worker.address import Mailbox, one_line
from worker.errors import PermanentError
from worker.mime import File, Letter, compose
from worker.render import Renderer

RENDERER: Final = Renderer(default_sender=Mailbox("Contensis Tŷ", "no-reply@contensis.com"))
EVENTS: Final = 2_000
HOSTILE: Final = (
    "\r\nBcc: x@evil.example\r\n\r\n",
    "<script>alert(1)</script>",
    '"quoted" \\ <x@evil.example>, y',
    "=?utf-8?q?=0D=0ABcc:?=",
    "{{ 7 * 7 }} {% for %} ${x} %s {0}",
    "Tŷ’r Ŵyl Llanfair" + "pwll" * 60,
    "x" * 1200,
    "\u202e\u05d0\u0645\u202c שלום مرحبا",
    "👩\u200d👩\u200d👧\u200d👦 🏴",
    "a\0b\x07\x1b[2J\x7f\x85\u2028\u2029c",
    ".\r\n.\r\nQUIT\r\n",
    "--=_alternative-0123456789abcdef--",
    "From the beginning\nFrom a line",
    "trailing blanks   \n\t\n",
    "=3D=\n=C3",
    "",
)
FILE_NAMES: Final = (
    "report.pdf",
    "cynllun ŷ.pdf",
    'a"b\\c;d=e.txt',
    "../../etc/passwd",
    "ŷ" * 120 + ".pdf",
    "=?x?=.csv",
    "%41'%42.txt",
)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A letter, its bytes, and what each of the two makes of them."""

    letter: Letter
    content: bytes
    other: dict[str, Any]

    @property
    def python(self) -> EmailMessage:
        """By the standard library."""
        return message_from_bytes(self.content, _class=EmailMessage, policy=policy.default)

    def mailboxes(self, field: str) -> list[tuple[str, str]]:
        """Names and addresses, by its older decoder: the newer one shows what RFC 2047 §6.2 says to ignore."""
        values = message_from_bytes(self.content, policy=policy.compat32).get_all(field, [])
        found = [parseaddr(value.replace("\r\n", "")) for value in values]
        return [(str(make_header(decode_header(name))), address) for name, address in found]


def hostile_events(count: int) -> Iterator[dict[str, Any]]:
    """Examples with something hostile in one to four places, some with files; the same in every run."""
    chance = random.Random(20261124)  # noqa: S311 - nothing secret
    for _ in range(count):
        document = example(chance.choice(NAMES))
        data = document["data"]
        if "user" not in data and chance.randrange(3) == 0:
            data["attachments"] = [_file(chance) for _ in range(chance.randint(1, 3))]
            for email in data.get("emails", ()):
                email["attachFiles"] = True
        for holder, key in chance.sample(list(_places(data)), chance.randint(1, 4)):
            holder[key] = chance.choice(("", holder[key])) + chance.choice(HOSTILE)
        yield document


def _places(node_: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in node_.items() if isinstance(node_, dict) else enumerate(node_):
        if isinstance(value, str):
            yield node_, key
        elif isinstance(value, dict | list):
            yield from _places(value)


def _file(chance: random.Random) -> dict[str, Any]:
    shown = {"disposition": "inline", "contentId": f"c{chance.randrange(1000)}@contensis.com"}
    return {
        "filename": chance.choice(FILE_NAMES),
        "contentType": chance.choice(("application/pdf", "image/png", "text/csv; charset=utf-8", "nonsense")),
        "contentBase64": base64.b64encode(chance.randbytes(chance.randrange(400))).decode(),
        **chance.choice(({}, shown)),
    }


def letters() -> Iterator[Letter]:
    """Of the examples and of all hostile events that the contract and the renderer take."""
    for document in (*map(example, NAMES), *hostile_events(EVENTS)):
        try:
            event = event_of(document)
        except (ValidationError, UnicodeEncodeError):
            continue
        for addressee in RENDERER.addressees(event):
            try:
                yield RENDERER.render(event, addressee).letter
            except PermanentError:
                continue


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> list[Arrived]:
    """All letters, read by both."""
    program = node_for(READER)
    sent = list(letters())
    files = [tmp_path_factory.getbasetemp() / f"{number}.eml" for number in range(len(sent))]
    contents = [compose(letter) for letter in sent]
    for content, file in zip(contents, files, strict=True):
        file.write_bytes(content)
    read = subprocess.run(  # noqa: S603 - the project's script
        [str(program), str(READER / "read.js")],
        input="\n".join(map(str, files)),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [Arrived(*mail) for mail in zip(sent, contents, json.loads(read.stdout), strict=True)]


def test_enough_has_arrived(arrived: list[Arrived]) -> None:
    """Most hostile events are mails, some with files."""
    assert len(arrived) > EVENTS
    assert sum(bool(mail.letter.files) for mail in arrived) > EVENTS // 10


def test_both_see_the_subject(arrived: list[Arrived]) -> None:
    """As it was rendered."""
    for mail in arrived:
        assert mail.python["Subject"] == mail.other["subject"] == mail.letter.subject


def test_both_see_the_names_and_addresses(arrived: list[Arrived]) -> None:
    """One of each, and nobody else."""
    for mail in arrived:
        for field, key, mailbox in (
            ("From", "from", mail.letter.sender),
            ("To", "to", mail.letter.to),
            ("Reply-To", "replyTo", mail.letter.reply_to),
        ):
            expected = [(one_line(mailbox.name), mailbox.address)] if mailbox else []
            assert mail.mailboxes(field) == expected
            assert [(address["name"], address["address"]) for address in mail.other[key]] == expected


def test_both_see_the_same_fields(arrived: list[Arrived]) -> None:
    """No text has made one."""
    for mail in arrived:
        assert [name.lower() for name in mail.python] == mail.other["headers"]


def test_both_see_both_bodies(arrived: list[Arrived]) -> None:
    """Line by line."""
    for mail in arrived:
        message = mail.python
        for kind, key, body in (("plain", "text", mail.letter.text), ("html", "html", mail.letter.html)):
            part = message.get_body((kind,))
            assert part is not None
            mine = part.get_content().splitlines()
            assert mine == mail.other[key].splitlines() == body.splitlines()


def test_both_see_the_files(arrived: list[Arrived]) -> None:
    """Name, id and every byte, in their order: shown ones before attached ones."""
    for mail in arrived:
        files = sorted(mail.letter.files, key=lambda file: not file.content_id)
        expected = [(one_line(file.name), _id_of(file), file.content) for file in files]
        mine = [part for part in mail.python.walk() if "Content-Disposition" in part]
        assert [(_name(part), _id(part), part.get_payload(decode=True)) for part in mine] == expected
        other = mail.other["files"]
        assert [
            (file["name"], file.get("cid"), base64.b64decode(file["content"])) for file in other
        ] == expected


def _id_of(file: File) -> str | None:
    """What no id may hold is percent-encoded."""
    return mime._id(file.content_id).strip("<>") if file.content_id else None


def _name(part: EmailMessage) -> str:
    """As it stands there: `get_filename` takes angle brackets off."""
    return str(part["Content-Disposition"].params.get("filename", ""))


def _id(part: EmailMessage) -> str | None:
    return part["Content-ID"].strip("<>") if "Content-ID" in part else None
