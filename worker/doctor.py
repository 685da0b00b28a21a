"""`doctor`: the broker, and what is under way at it, a finding a step; then everything that `check` does.

All that AMQP tells is asked over AMQP. The management API adds what it does not tell: bindings, policies,
feature flags and the broker's clock; where it cannot be asked, it is said what was not seen.
"""

import asyncio
import shlex
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aio_pika.abc import AbstractConnection
from yarl import URL

from contracts.definitions import Role, permissions, whole_topology
from contracts.topology import (
    Lane,
    journal_stream,
    work_queue,
)
from worker import vitals
from worker.broker import BrokerRefusedError, BrokerUnavailableError, virtual_host
from worker.declare import NotDeclaredError
from worker.depths import Depth, depths
from worker.findings import Finding, Mark, not_reached, passed
from worker.findings import exit_code as exit_code_of_a_check
from worker.management import Management
from worker.permissions import Right, rights
from worker.stream import StreamMissingError, pieces
from worker.survey import APPLY, Found, opened, survey
from worker.vitals import READ_BACK, REFUSED, UNREACHABLE, Heard, Seen, Vitals, listed, problem, remark

STEPS: Final = ("broker", "rights", "flags", "topology", "limits", "queues", "dead", "journal", "clock")

READ_SECONDS: Final = 10.0


async def look(url: str, prefix: str, settings_rev: str, management: str | None) -> AsyncIterator[Finding]:
    """Every step at the broker. `management` is the URL of its management API, None to try the usual one."""
    reached = ""
    try:
        async with opened(url, "doctor") as connection:
            async for finding in _looked(connection, URL(url), prefix, settings_rev, management):
                reached = finding.step
                yield finding
    except BrokerUnavailableError as error:
        yield problem(reached or "broker", str(error), UNREACHABLE)
    except BrokerRefusedError as error:
        yield problem(reached or "broker", str(error), REFUSED)
    else:
        return
    for finding in not_reached(STEPS[STEPS.index(reached or "broker") + 1 :]):
        yield finding


def exit_code(findings: Iterable[Finding]) -> int:
    """3 where the broker could not be reached, 2 where it refused, else as of `check`."""
    findings = list(findings)
    codes = {finding.code for finding in findings}
    if UNREACHABLE in codes:
        return 3
    return 2 if REFUSED in codes else exit_code_of_a_check(findings)


async def _looked(
    connection: AbstractConnection, url: URL, prefix: str, settings_rev: str, management: str | None
) -> AsyncIterator[Finding]:
    yield vitals.broker(await _properties(connection), url)
    seen = await _seen(url, management)
    if seen.why_not:
        yield _unseen(seen.why_not, given=management is not None)
    async for finding in _rights(connection, url, prefix):
        yield finding
    found, asked = await _surveyed(connection, url, prefix, seen)
    here = Vitals(url, prefix, seen, found, asked)
    for judge in (vitals.flags, vitals.topology, vitals.limits, vitals.queues, vitals.dead):
        for finding in judge(here):
            yield finding
    heard = Heard()
    for finding in await _journal(connection, here, settings_rev, heard):
        yield finding
    yield vitals.clock(seen, heard, datetime.now(UTC))


async def _properties(connection: AbstractConnection) -> Mapping[str, Any]:
    channel = await connection.channel()
    underlay = await channel.get_underlay_channel()
    await channel.close()
    return getattr(underlay.connection, "server_properties", {})


async def _seen(url: URL, management: str | None) -> Seen:
    address = management or _usual(url)
    api = Management.beside(str(url), address)
    try:
        bindings, policies = await api.bindings(), await api.policies()
        there = await api.clock()
    except BrokerUnavailableError as error:
        return Seen(why_not=str(error) if management else f"nobody answers at {address}.")
    except BrokerRefusedError as error:
        return Seen(why_not=str(error))
    ahead = (datetime.now(UTC) - there).total_seconds() if there else None
    return Seen(bindings, policies, await _disabled_flags(api), ahead)


def _usual(url: URL) -> str:
    """Where the management API usually is. A broker that is spoken to in TLS is never asked without it."""
    scheme, port = ("https", 15671) if url.scheme == "amqps" else ("http", 15672)
    return str(URL.build(scheme=scheme, host=url.host or "", port=port))


async def _disabled_flags(api: Management) -> list[str] | None:
    try:
        return await api.disabled_flags()
    except (BrokerUnavailableError, BrokerRefusedError):
        return None  # only administrators may see them


def _unseen(why: str, *, given: bool) -> Finding:
    text = f"No management API, so bindings, policies, feature flags and the broker's clock are not seen: {why}"
    hint = (
        "Run: notify-worker doctor --management http://USER:PASSWORD@HOST:15672, with a user tagged management."
    )
    return remark("broker", text, Mark.WARNING if given else Mark.UNCLEAR, hint)


async def _rights(connection: AbstractConnection, url: URL, prefix: str) -> AsyncIterator[Finding]:
    read = (*(work_queue(lane, prefix) for lane in Lane), journal_stream(prefix))
    tried = await rights(connection, whole_topology(prefix), read)
    for right in Right:
        names = [name for lacking, name in tried.refused if lacking is right]
        if names:
            text = f"This user may not {right} {listed(names)}."
            yield problem("rights", text, hint=_permit(url, prefix))
    if not tried.refused:
        untried = f"; not tried: {listed(tried.untried)}" if tried.untried else ""
        yield passed("rights", f"{tried.tried} tried out, all granted{untried}")


def _permit(url: URL, prefix: str) -> str:
    allowed = permissions(prefix)[Role.WORKER]
    arguments = (virtual_host(url), url.user or "guest", *(allowed[right] for right in Right))
    return f"Run: rabbitmqctl set_permissions --vhost {shlex.join(arguments)}"


async def _surveyed(
    connection: AbstractConnection, url: URL, prefix: str, seen: Seen
) -> tuple[list[Found], dict[str, Depth]]:
    wanted = whole_topology(prefix)
    asked = await depths(connection, [queue.name for queue in wanted.queues])
    try:
        return await survey(connection, wanted, virtual_host(url), seen.bindings), asked
    except (BrokerRefusedError, NotDeclaredError):
        return [], asked


async def _journal(
    connection: AbstractConnection, here: Vitals, settings_rev: str, heard: Heard
) -> list[Finding]:
    stream = journal_stream(here.prefix)
    try:
        async with asyncio.timeout(READ_SECONDS):
            await _heard(connection, stream, heard)
    except StreamMissingError as error:
        text = f"{error} What was sent before a restart is not known then, and whereis has nothing to go by."
        return [remark("journal", text, hint=f"Run: {APPLY}")]
    except BrokerRefusedError as error:
        return [remark("journal", str(error), hint=_permit(here.url, here.prefix))]
    except TimeoutError:
        text = f"Reading the last hours of {stream} took longer than {READ_SECONDS:.0f} s."
        return [*vitals.told(heard, settings_rev), remark("journal", text, Mark.UNCLEAR)]
    return list(vitals.told(heard, settings_rev))


async def _heard(connection: AbstractConnection, stream: str, heard: Heard) -> None:
    async for group in pieces(connection, stream, "last"):
        for piece in group:
            heard.hear(piece.headers, piece.body)
    heard.revisions.clear()
    async for group in pieces(connection, stream, datetime.now(UTC) - READ_BACK):
        for piece in group:
            heard.hear(piece.headers, piece.body)
