"""Who gets a mail for an event: one entry an address, in the event's order, with the mail's identity.

The event alone decides the order, since a retry counts with it, and the identity, since a resend repeats it.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from contracts.events import (
    Account,
    Event,
    FormEmail,
    FormEvent,
    PasswordResetEvent,
    Recipient,
    SystemEvent,
    WorkflowEvent,
)
from worker.address import normalised, one_line
from worker.stationery import Stationery, bundled
from worker.wording import UTC, choose, language_tag, nearest, time_zone

KEY_CHARACTERS: Final = 32

_SPECIAL: Final = re.compile(r'[<>@,;"\\]')  # in a name they would read as more than one mailbox
_QUOTABLE: Final = re.compile(r'(["\\])')
_ESCAPED: Final = r"\\\1"


@dataclass(frozen=True, slots=True)
class Addressee:
    """One mail that an event asks for.

    `index` is its place in the event's list of mails. `key`, 32 hex digits, identifies the mail and is the left
    part of its Message-ID. `to` is `address` or `name <address>`, not yet judged. `variant` is the folder of
    its templates. `wanted` is false for somebody who opted out. `entry` is what the event says of this person.
    """

    index: int
    key: str
    to: str
    variant: str
    languages: tuple[str, ...]
    timezone: ZoneInfo
    wanted: bool
    entry: Recipient | FormEmail | Account

    @property
    def language(self) -> str:
        """The one that the mail begins with."""
        return self.languages[0]


def addressees(event: Event, stationery: Stationery | None = None) -> list[Addressee]:
    """Everybody the event writes to, opted out or not; one entry an address in a list.

    `stationery` says which templates and languages there are: the worker's own unless given.
    """
    stationery = stationery or bundled()
    match event:
        case WorkflowEvent():
            return _unique(_of_workflow(event, stationery))
        case FormEvent():
            return _unique(_of_form(event, stationery))
        case PasswordResetEvent():
            return _unique(_of_password_reset(event, stationery))
        case SystemEvent():
            return _unique(_of_system(event, stationery))
    assert_never(event)


def resource_language(event: Event) -> str | None:
    """The language of what the event is about, as the event says it."""
    resource = None if isinstance(event, PasswordResetEvent) else event.data.resource
    return resource.language if resource else None


def primary_language(event: Event) -> str | None:
    """The main language of the event's project, as the event says it."""
    project = None if isinstance(event, PasswordResetEvent) else event.data.project
    return project.primary_language if project else None


def brings_text(entry: Recipient | FormEmail | Account) -> bool:
    """Whether the event itself brings along what a mail says, in a language of its own."""
    return isinstance(entry, FormEmail) and bool(entry.body)


def _of_workflow(event: WorkflowEvent, stationery: Stationery) -> Iterator[Addressee]:
    workflow = event.data.workflow
    raised = workflow.transition.event.rpartition(".")[2]
    step = f"{workflow.transition.from_}.{raised}"
    variant = stationery.variant("workflow", f"{workflow.id}.{step}", step, raised, "default")
    rule = f"workflow/{raised}".casefold()  # the event's own word: a new template gives no mail a new identity
    for recipient in event.data.recipients:
        yield _of_recipient(event, recipient, rule, variant, stationery)


def _of_system(event: SystemEvent, stationery: Stationery) -> Iterator[Addressee]:
    variant = stationery.variant("system", event.data.message.code, "message")
    for recipient in event.data.recipients:
        yield _of_recipient(event, recipient, "system/message", variant, stationery)


def _of_recipient(
    event: Event, recipient: Recipient, rule: str, variant: str, stationery: Stationery
) -> Addressee:
    chain = (recipient.language, resource_language(event), primary_language(event))
    return Addressee(
        index=0,
        key=_key(event, rule, recipient.email),
        to=_mailbox(recipient),
        variant=variant,
        languages=stationery.together(choose(chain, stationery.languages)),
        timezone=time_zone(recipient.timezone),
        wanted=recipient.wants_email,
        entry=recipient,
    )


def _of_form(event: FormEvent, stationery: Stationery) -> Iterator[Addressee]:
    seen: Counter[str] = Counter()
    for email in event.data.emails:
        seen[email.rule] += 1
        rule = email.rule if seen[email.rule] == 1 else f"{email.rule}.{seen[email.rule]}"
        for to in email.to:
            yield Addressee(
                index=0,
                key=_key(event, rule, to),
                to=to,
                variant=stationery.variant("form", email.rule),
                languages=_form_languages(event, email, stationery),
                timezone=UTC,
                wanted=True,
                entry=email,
            )


def _form_languages(event: FormEvent, email: FormEmail, stationery: Stationery) -> tuple[str, ...]:
    """A rule that brings its own text is in its own language, whether or not there are phrases for it."""
    chain = (email.language, resource_language(event), primary_language(event))
    chosen = choose(chain, stationery.languages)
    if not brings_text(email):
        return stationery.together(chosen)
    own = language_tag(email.language or "")
    return (own if own and nearest(own, stationery.languages) is None else chosen,)


def _of_password_reset(event: PasswordResetEvent, stationery: Stationery) -> Iterator[Addressee]:
    user, action = event.data.user, event.data.reset.action
    yield Addressee(
        index=0,
        key=_key(event, f"password-reset/{action}", user.email),
        to=_mailbox(user),
        variant=stationery.variant("password-reset", action),
        languages=stationery.together(choose((user.language,), stationery.languages)),
        timezone=time_zone(user.timezone),
        wanted=True,
        entry=user,
    )


def _unique(found: Iterable[Addressee]) -> list[Addressee]:
    """One mail an identity, at its first place; an entry that overrides opting out beats one that does not."""
    by_key: dict[str, Addressee] = {}
    for addressee in found:
        known = by_key.get(addressee.key)
        if known is None or (addressee.wanted and not known.wanted):
            by_key[addressee.key] = addressee
    return [replace(addressee, index=index) for index, addressee in enumerate(by_key.values())]


def _key(event: Event, rule: str, address: str) -> str:
    identity = "\0".join((event.source, event.id, rule, normalised(address)))
    return hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:KEY_CHARACTERS]


def _mailbox(person: Recipient | Account) -> str:
    name = one_line(" ".join(filter(None, (person.first_name, person.last_name))))
    if _SPECIAL.search(name):
        name = f'"{_QUOTABLE.sub(_ESCAPED, name)}"'
    return f"{name} <{person.email}>" if name else person.email
