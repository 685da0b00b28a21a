"""Replies and headers as long as they come: cut where they are shown, carried on as far as that is possible."""

from typing import Any, Final

import pytest
from pamqp.encode import field_table

from contracts.dead_letter import MAX_DETAIL_CHARACTERS, MAX_HEADER_BYTES, DeadLetter
from tests.acceptance.conftest import World
from tests.support.load import addresses, message_to

AS_MANY_AS_ARE_KEPT: Final = {f"x-app-{n:02}": f"{n:02}" * 500 for n in range(63)}
"""Headers of 63 KiB in all."""

TOO_MUCH: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"x-large": "x" * 50_000},
    {"x-deep": [{"a": ["x" * 20_000]}, {"b": {"c": "x" * 20_000}}]},
)
"""What comes with them, and is more than a copy can carry."""

GONE: Final = "gone@broddu.example"
KIBIBYTE: Final = 1024
LATER: Final = "later@broddu.example"
LONG_REPLIES: Final = {
    "one line of 200 KiB": "550 5.1.1 " + "no " * (200 * KIBIBYTE // 3),
    "10,000 lines": "550 5.1.1 " + "\n".join(["5.1.1 no"] * 10_000),
    "30 KiB without a space": "550 5.1.1 " + "x" * 30 * KIBIBYTE,
}


@pytest.mark.parametrize("reply", LONG_REPLIES.values(), ids=LONG_REPLIES)
async def test_a_refusal_of_any_length_is_a_dead_letter_of_that_mail_alone(world: World, reply: str) -> None:
    """What is kept of it is cut; the worker and the other mails go on."""
    others = addresses(20)
    world.smtp.answer("RCPT", reply, to=GONE)
    for address in (*others[:10], GONE, *others[10:]):
        await world.publish(message_to(address))
    worker = await world.worker(NOTIFY_RETRY_GIVE_UP_SECONDS="0")
    dead = await world.dead("exhausted")
    letter = DeadLetter.from_headers(dead.headers)
    assert len(letter.detail) <= MAX_DETAIL_CHARACTERS
    assert len(field_table(dead.headers)) <= MAX_HEADER_BYTES
    await world.smtp.until_accepted(len(others))
    assert world.recipients() == sorted(others)
    assert not worker.said(action="pause")


async def test_headers_of_any_size_come_through_a_retry_and_a_dead_letter(world: World) -> None:
    """A header frame over 128 KiB would end the worker's connection, as often as it is published."""
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to=GONE)
    world.smtp.answer("RCPT", "450 4.2.1 later", to=LATER, times=3 * len(TOO_MUCH))
    for too_much in TOO_MUCH:
        await world.publish(to_both(), headers=AS_MANY_AS_ARE_KEPT | too_much)
    worker = await world.worker()
    at_once = [await world.dead("exhausted") for _ in TOO_MUCH]
    await world.until_unfinished({"retry.10s": len(TOO_MUCH)})
    world.smtp.answer("RCPT", "550 5.1.1 unknown", to=LATER)
    after_the_retry = [await world.dead("exhausted") for _ in TOO_MUCH]
    for dead in (*at_once, *after_the_retry):
        assert AS_MANY_AS_ARE_KEPT.items() <= dead.headers.items()
        assert not {"x-large", "x-deep"} & dead.headers.keys()
    assert {DeadLetter.from_headers(dead.headers).owed for dead in at_once} == {"1"}
    assert {DeadLetter.from_headers(dead.headers).attempts for dead in after_the_retry} == {2}
    assert not worker.said(action="broker-lost")


def to_both() -> dict[str, Any]:
    """A message of which one mail is refused, and the other put off."""
    event = message_to(LATER)
    event["data"]["recipients"].append({"email": GONE, "reason": "approver"})
    return event
