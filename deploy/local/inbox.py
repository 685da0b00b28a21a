"""An SMTP inbox for looking: accepts every mail, sends none, and stores each as a file.

`python -m deploy.local.inbox --port 2525 --folder DIR` runs until SIGTERM or Ctrl-C. `DIR` gets one `.eml` a
mail, which mail programs open, and `index.jsonl` with one line a mail in order of arrival.
"""

import argparse
import asyncio
import re
import signal
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import BaseModel, ConfigDict, Field

HOST = "127.0.0.1"
INDEX = "index.jsonl"
_UNSAFE_IN_FILE_NAMES = re.compile(r"[^\w@.+-]")
_LONGEST_RECIPIENT = 80


class StoredMail(BaseModel):
    """One line of the index: the envelope, what the mail is about, and where it lies."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True)

    number: int
    sender: str = Field(alias="from")
    to: tuple[str, ...]
    subject: str
    language: str
    file: str


def read_index(folder: Path) -> list[StoredMail]:
    """The mails an inbox has stored in `folder` so far, in order of arrival."""
    index = folder / INDEX
    if not index.exists():
        return []
    whole, _, _half_written = index.read_text("utf-8").rpartition("\n")
    return [StoredMail.model_validate_json(line) for line in whole.splitlines()]


class Inbox:
    """The handler of the SMTP server: a mail is stored before its acceptance is said."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._count = len(read_index(folder))

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """The reply to the final dot."""
        mail = self._store(envelope)
        return f"250 2.0.0 stored as number {mail.number}"

    def _store(self, envelope: Envelope) -> StoredMail:
        # No await in between: numbers are unique although sessions are served at the same time.
        content = bytes(envelope.original_content or b"")
        mail = self._describe(envelope, message_from_bytes(content, policy=policy.default))
        _write_whole(self._folder / mail.file, content)
        with (self._folder / INDEX).open("a", encoding="utf-8") as index:
            index.write(mail.model_dump_json(by_alias=True) + "\n")
        self._count = mail.number
        return mail

    def _describe(self, envelope: Envelope, message: EmailMessage) -> StoredMail:
        number = self._count + 1
        recipient = _UNSAFE_IN_FILE_NAMES.sub("_", envelope.rcpt_tos[0])[:_LONGEST_RECIPIENT]
        return StoredMail(
            number=number,
            sender=envelope.mail_from or "",
            to=tuple(envelope.rcpt_tos),
            subject=str(message.get("Subject", "")),
            language=str(message.get("Content-Language", "")),
            file=f"{number:04}-{recipient}.eml",
        )


def _write_whole(path: Path, content: bytes) -> None:
    """Whoever finds the file finds all of it."""
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(content)
    unfinished.replace(path)


async def serve(port: int, folder: Path) -> None:
    """Accept mail at 127.0.0.1:`port` (0 for any) until SIGTERM or SIGINT."""
    loop, ended, inbox = asyncio.get_running_loop(), asyncio.Event(), Inbox(folder)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(
        lambda: SMTP(inbox, enable_SMTPUTF8=True, hostname="localhost", ident="inbox", loop=loop), HOST, port
    )
    print(f"SMTP inbox ready at {HOST}:{server.sockets[0].getsockname()[1]}, mails in {folder}", flush=True)
    await ended.wait()
    server.close()  # sessions still open end with the event loop


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.inbox", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1; 0 for any")
    parser.add_argument("--folder", type=Path, required=True, help="where the mails are stored")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.folder))


if __name__ == "__main__":
    main()
