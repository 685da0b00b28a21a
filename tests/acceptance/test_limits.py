"""Replies and headers of a size nobody sends on purpose: they are cut or left out, and break nothing."""

from collections.abc import Mapping
from typing import Final

import pytest
from pamqp.encode import field_table

from contracts.dead_letter import MAX_DETAIL_CHARACTERS, DeadLetter
from tests.acceptance.conftest import World
from tests.support.load import addresses, message_to
from worker.copies import MAX_KEPT_HEADER_BYTES
from worker.retry import BLIP_TRIES

KIBIBYTE: Final = 1024
THE_LONGEST_THAT_IS_READ: Final = "550 5.1.1 unknown" + ("\n" + "x" * 7 * KIBIBYTE) * 4
WITHOUT_END: Final = "550 5.1.1 " + "x" * 600 * KIBIBYTE
LONG: Final[Mapping[str, str]] = {
    "one line of 200 KiB": "550 5.1.1 " + "x" * 200 * KIBIBYTE,
    "10,000 lines": "550 5.1.1 unknown" + "\nno such reader" * 9_999,
}
HEADERS_AT_THEIR_CAP: Final = {f"x-part-{n}": f"{n}" * 10 * KIBIBYTE for n in range(10)}


async def test_a_long_refusal_is_a_short_detail(world: World) -> None:
    """A dead letter's headers stay far below what would close the connection to the broker."""
    refused, other = addresses(2)
    world.smtp.answer("RCPT", THE_LONGEST_THAT_IS_READ, to=refused)
    worker = await world.worker()
    for address in (refused, other):
        await world.publish(message_to(address))
    headers = (await world.dead("exhausted")).headers
    letter = DeadLetter.from_headers(headers)
    assert letter.code == "recipient-refused"
    assert len(letter.detail) <= MAX_DETAIL_CHARACTERS
    assert len(field_table(headers)) < MAX_KEPT_HEADER_BYTES
    await world.smtp.until_accepted(1)
    assert await worker.stop() == 0


async def test_a_reply_without_end_loses_no_mail(world: World) -> None:
    """The session is given up with the rest of the reply, which is nobody else's; its mail is tried again."""
    due = addresses(20)
    for point, address in zip(("MAIL", "RCPT", "DATA", "BODY"), ("", *due[5:20:5]), strict=True):
        world.smtp.answer(point, WITHOUT_END, to=address, times=1)
    worker = await world.worker(NOTIFY_SMTP_MAX_SESSIONS="1")
    for address in due:
        await world.publish(message_to(address))
    await world.smtp.until_accepted(len(due), within=40)
    assert await worker.stop() == 0
    assert world.recipients() == sorted(due)
    assert await world.dead_letters() == {}
    assert await world.unfinished() == {}
    assert not worker.said(level="error")


@pytest.mark.parametrize("reply", LONG.values(), ids=LONG)
async def test_a_refusal_of_any_length_is_that_mail_s_own(world: World, reply: str) -> None:
    """It is said of one recipient each time: were it the server's trouble, all would wait for it."""
    refused, *others = addresses(20)
    world.smtp.answer("RCPT", reply, to=refused)
    worker = await world.worker()
    for address in (refused, *others):
        await world.publish(message_to(address))
    letter = DeadLetter.from_headers((await world.dead("exhausted")).headers)
    assert (letter.code, letter.owed) == ("recipient-refused", "0")
    assert len(letter.detail) <= MAX_DETAIL_CHARACTERS
    await world.smtp.until_accepted(len(others))
    assert world.recipients() == sorted(others)
    assert not worker.said(action="pause")


async def test_headers_at_their_cap_pass_through_a_retry_and_a_dead_letter(world: World) -> None:
    """The largest are left out of a copy; with all of them the broker would close the connection."""
    later, refused = addresses(2)
    world.smtp.answer("RCPT", "450 4.2.1 later", to=later, times=BLIP_TRIES)
    world.smtp.answer("RCPT", "450 4.2.1 later", to=refused, times=BLIP_TRIES)
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to=refused)
    for address in (later, refused):
        await world.publish(message_to(address), headers=HEADERS_AT_THEIR_CAP)
    worker = await world.worker()
    await worker.until_said(outcome="retry", times=2)
    await world.smtp.until_accepted(1, within=30)
    dead = await world.dead("exhausted")
    assert DeadLetter.from_headers(dead.headers).attempts == 2
    assert {"x-part-0", "x-part-9"} & dead.headers.keys()
    assert not HEADERS_AT_THEIR_CAP.keys() <= dead.headers.keys()
    assert await worker.stop() == 0
    assert not worker.said(action="broker-lost")
    assert not worker.said(action="broker-wait")
    assert await world.unfinished() == {}
