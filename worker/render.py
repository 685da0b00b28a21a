"""An event of the contract -> one rendered letter for each addressee."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from contracts.dead_letter import Reason
from contracts.events import Attachment, Event, FormEmail, PasswordResetEvent, WorkflowEvent
from worker.address import AddressError, Mailbox, parse_mailbox
from worker.addressees import Addressee, addressees, resource_language
from worker.errors import PermanentError
from worker.mime import File, Letter
from worker.stationery import Stationery, bundled
from worker.writing import write

__all__ = ["Addressee", "Mail", "Renderer", "addressees"]

NO_DOMAIN: Final = "invalid"  # RFC 2606 §2: a domain that nobody can have
MAX_ID_CHARACTERS: Final = 64

_UNSAFE_IN_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Mail:
    """A letter ready to be sent; after `expires` it must not be. `index` and `key` are its addressee's."""

    index: int
    key: str
    letter: Letter
    expires: datetime | None


class Renderer:
    """Writes the letters; pure once its templates are read.

    `default_sender` is the From of events that bring none.
    """

    def __init__(self, *, default_sender: Mailbox | None, stationery: Stationery | None = None) -> None:
        self._default_sender = default_sender
        self.stationery = stationery or bundled()

    def addressees(self, event: Event) -> list[Addressee]:
        """Everybody the event writes to, with the templates and languages that this renderer has."""
        return addressees(event, self.stationery)

    def render(self, event: Event, addressee: Addressee) -> Mail:
        """The letter to `addressee`.

        Raises PermanentError: `recipient-refused` for an address that is none, `template`,
        `attachment-refused`, and `invalid-data` for a From or Reply-To that is no mailbox.
        """
        to = _recipient(addressee)
        sender = self._sender(event, addressee)
        domain = sender.domain if sender else NO_DOMAIN
        written = write(event, addressee, self.stationery)
        letter = Letter(
            sender=sender,
            to=to,
            reply_to=_reply_to(event, addressee, raw=to.needs_smtputf8),
            subject=written.subject,
            text=written.text,
            html=written.html,
            date=event.time,
            message_id=f"{addressee.key}@{domain}",
            language=", ".join(addressee.languages),
            auto_submitted=_auto_submitted(addressee),
            event_id=event.id,
            thread=_thread(event, domain),
            files=_files(_attachments(event, addressee)),
        )
        return Mail(addressee.index, addressee.key, letter, _expires(event))

    def _sender(self, event: Event, addressee: Addressee) -> Mailbox | None:
        rule = addressee.entry
        if isinstance(rule, FormEmail) and rule.from_:
            return _mailbox(rule.from_, "emails[].from")
        return _mailbox(event.data.from_, "from") if event.data.from_ else self._default_sender


def _recipient(addressee: Addressee) -> Mailbox:
    try:
        return parse_mailbox(addressee.to)
    except AddressError as error:
        raise PermanentError(Reason.RECIPIENT_REFUSED, str(error)) from None


def _reply_to(event: Event, addressee: Addressee, *, raw: bool) -> Mailbox | None:
    """Where answers go; `raw` says that the mail needs SMTPUTF8 in any case.

    No mail is lost for it: an address that a server without SMTPUTF8 would refuse is left out.
    """
    rule = addressee.entry
    of_rule = isinstance(rule, FormEmail) and rule.reply_to
    text, field = (of_rule, "emails[].replyTo") if of_rule else (event.data.reply_to, "replyTo")
    mailbox = _mailbox(text, field) if text else None
    return mailbox if mailbox and (raw or not mailbox.needs_smtputf8) else None


def _mailbox(text: str, field: str) -> Mailbox:
    try:
        return parse_mailbox(text)
    except AddressError as error:
        raise PermanentError(Reason.INVALID_DATA, f"data.{field}: {error}") from None


def _auto_submitted(addressee: Addressee) -> Literal["auto-generated", "auto-replied"]:
    """RFC 3834 §5: an answer to what somebody sent, or a mail of the machine's own accord."""
    rule = addressee.entry
    answers = isinstance(rule, FormEmail) and rule.rule == "autoResponder"
    return "auto-replied" if answers else "auto-generated"


def _thread(event: Event, domain: str) -> str | None:
    """What the workflow mails of one entry in one language refer to, so that they are shown together."""
    if not isinstance(event, WorkflowEvent):
        return None
    parts = ("entry", event.data.resource.id, resource_language(event) or "")
    return "-".join(_UNSAFE_IN_ID.sub("", part)[:MAX_ID_CHARACTERS] for part in parts if part) + f"@{domain}"


def _expires(event: Event) -> datetime | None:
    link = event.data.reset.expires if isinstance(event, PasswordResetEvent) else None
    return min((moment for moment in (event.expirytime, link) if moment), default=None)


def _attachments(event: Event, addressee: Addressee) -> Sequence[Attachment]:
    """The event's files; a form's email rule says whether it wants them."""
    rule = addressee.entry
    if isinstance(event, PasswordResetEvent) or (isinstance(rule, FormEmail) and not rule.attach_files):
        return ()
    return event.data.attachments


def _files(attachments: Sequence[Attachment]) -> tuple[File, ...]:
    return tuple(
        _file(attachment, f"data.attachments[{place}]") for place, attachment in enumerate(attachments)
    )


def _file(attachment: Attachment, field: str) -> File:
    if attachment.url is not None:
        raise PermanentError(
            Reason.ATTACHMENT_REFUSED, "attachments by URL are not fetched: no host is allowed"
        )
    content = attachment.content
    if attachment.file_size not in (None, len(content)):
        raise PermanentError(Reason.ATTACHMENT_REFUSED, f"{field}: the content is not of its fileSize")
    if attachment.sha256 and attachment.sha256.lower() != hashlib.sha256(content).hexdigest():
        raise PermanentError(Reason.ATTACHMENT_REFUSED, f"{field}: the content does not match its sha256")
    return File(
        name=attachment.filename,
        content_type=attachment.content_type,
        content=content,
        inline=attachment.disposition == "inline",
        content_id=attachment.content_id,
    )
