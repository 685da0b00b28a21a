"""`check`: the way of a mail from the settings to the server, a finding a step, without sending any.

Findings come as they are made. The settings decide before anything is connected to, the connection is tried as
the worker would make it, and the From domain is asked whether it authorises the host at all.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Final

from contracts.dead_letter import Reason
from worker.address import Mailbox
from worker.approach import STEPS, Approach, Step
from worker.errors import NotifyError, Scope, TransientError
from worker.findings import Finding, Mark, failed, named, not_reached, passed, warning
from worker.redact import Redactor
from worker.revision import default_sender, secrets
from worker.sender.assess import Remark, Standing, assess
from worker.sender.lookup import LookupFailedError, Resolver, Server
from worker.settings import Settings, SettingsError
from worker.smtp.opening import trust
from worker.smtp.plan import Anonymous, Basic, ConnectionPlan, Encryption, faults, plan, warnings

CONNECTION_SECONDS: Final = 40.0
SENDER_SECONDS: Final = 12.0
LOOKUP_SECONDS: Final = 3.0
"""For one question to the DNS. All together stay under a minute."""

SENDER_STEPS: Final = ("spf", "dmarc")


async def unreadable(error: SettingsError) -> AsyncIterator[Finding]:
    """The findings where the settings cannot be read: nothing else is reached."""
    for fault in error.faults:
        yield Finding("settings", Mark.FAILED, fault, "settings", named(fault))
    for finding in not_reached(("plan", *STEPS, *SENDER_STEPS)):
        yield finding


async def check(
    settings: Settings,
    *,
    sender: Mailbox | None = None,
    resolver: Server | None = None,
    seconds: float = CONNECTION_SECONDS,
) -> AsyncIterator[Finding]:
    """Every step. `sender` is a From address in place of the default one, `resolver` another DNS server.

    The steps to the server take at most `seconds` together.
    """
    sender = sender or default_sender(settings)
    address = sender.address if sender else None
    for finding in planned(settings, address):
        yield finding
    async for finding in _connected(settings, address, seconds):
        yield finding
    for finding in await _believed(settings, address, resolver):
        yield finding


def planned(settings: Settings, sender: str | None) -> Iterator[Finding]:
    """What the settings say together, and every fault and warning about them."""
    given = sum(source != "default" for source in settings.sources.values())
    yield passed("settings", f"{given} set, {len(settings.sources) - given} by default")
    yield from (warning("settings", sentence) for sentence in settings.warnings)
    wrong = [failed("plan", fault, Redactor()) for fault in faults(settings.smtp, sender)]
    yield from wrong or [passed("plan", in_words(plan_of(settings, sender)))]
    yield from (warning("plan", sentence) for sentence in warnings(settings.smtp))


def plan_of(settings: Settings, sender: str | None) -> ConnectionPlan:
    """The plan for a mail from `sender`. Raises ConfigurationError."""
    return plan(settings.smtp, sender, entra_authority=settings.worker.entra_authority)


def in_words(plan: ConnectionPlan) -> str:
    """How mail goes, on one line."""
    match plan.authentication:
        case Anonymous():
            login = "anonymous"
        case Basic(username=name):
            login = f"user name and password, as {name}"
        case oauth2:
            login = f"OAuth2, as {oauth2.username}"
    return f"{plan.host} port {plan.port}, {_ENCRYPTION[plan.encryption]}, {login}"


async def _connected(settings: Settings, sender: str | None, seconds: float) -> AsyncIterator[Finding]:
    if next(faults(settings.smtp, sender), None):
        for finding in not_reached(STEPS):
            yield finding
        return
    own = settings.worker
    redact = Redactor(secrets(settings))
    deadline = asyncio.get_running_loop().time() + seconds
    approach = Approach(plan_of(settings, sender), trust(own.smtp_ca_file), float(own.smtp_timeout_seconds))
    with closing(approach):
        steps = approach.steps()
        for name, step in steps:
            finding = await _tried(name, step, deadline, redact)
            yield finding
            while approach.warnings:
                yield warning(name, approach.warnings.pop())
            if finding.mark is Mark.FAILED:
                break
        for finding in not_reached(name for name, _ in steps):
            yield finding


async def _tried(name: str, step: Step, deadline: float, redact: Redactor) -> Finding:
    try:
        async with asyncio.timeout_at(deadline):
            return passed(name, await step())
    except TimeoutError:
        detail = "no answer, and the time that a check may take is over"
        late = TransientError(Reason.SMTP_UNREACHABLE, detail, scope=Scope.SERVER)
        return failed(name, late, redact)
    except NotifyError as error:
        return failed(name, error, redact)


async def _believed(settings: Settings, sender: str | None, resolver: Server | None) -> list[Finding]:
    host = settings.smtp.EmailSMTPHost.strip().strip("[]")
    if not host or sender is None:
        return list(not_reached(SENDER_STEPS))
    try:
        async with asyncio.timeout(SENDER_SECONDS):
            names = Resolver(resolver, seconds=LOOKUP_SECONDS)
            return [_as_finding(remark) for remark in await assess(names, host, sender)]
    except LookupFailedError as fault:
        return [warning(step, f"It could not be looked up: {fault}.", Mark.UNCLEAR) for step in SENDER_STEPS]
    except TimeoutError:
        return [warning(step, "The DNS did not answer in time.", Mark.UNCLEAR) for step in SENDER_STEPS]


def _as_finding(remark: Remark) -> Finding:
    if remark.standing is Standing.GOOD:
        return passed(remark.subject, remark.text)
    return warning(remark.subject, remark.text, _MARKS[remark.standing])


_MARKS: Final = {Standing.BAD: Mark.WARNING, Standing.UNCLEAR: Mark.UNCLEAR}

_ENCRYPTION: Final = {
    Encryption.NONE: "no encryption",
    Encryption.STARTTLS: "STARTTLS",
    Encryption.IMPLICIT: "implicit SSL",
}
