"""Recent mails: nothing is sent twice by a living worker."""

import asyncio

from worker.recent import RecentMails


async def test_a_delivered_mail_is_not_to_be_sent_again() -> None:
    """Its key is remembered."""
    recent = RecentMails()
    async with recent.claim("a") as first:
        recent.delivered("a")
    async with recent.claim("a") as second:
        pass
    assert (first, second) == (True, False)


async def test_a_mail_that_failed_is_to_be_sent_again() -> None:
    """Only delivery is final."""
    recent = RecentMails()
    async with recent.claim("a"):
        pass
    async with recent.claim("a") as again:
        assert again


async def test_who_claims_a_mail_in_work_waits_and_sees_how_it_went() -> None:
    """Of a hundred that claim at once, one sends."""
    recent = RecentMails()
    sent = 0

    async def send() -> None:
        nonlocal sent
        async with recent.claim("a") as to_be_sent:
            if to_be_sent:
                await asyncio.sleep(0.001)
                sent += 1
                recent.delivered("a")

    await asyncio.gather(*(send() for _ in range(100)))
    assert sent == 1


async def test_after_a_failure_exactly_one_of_those_who_wait_is_next() -> None:
    """Claims never overlap."""
    recent = RecentMails()
    at_once, most = 0, 0

    async def fail() -> None:
        nonlocal at_once, most
        async with recent.claim("a"):
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1

    await asyncio.gather(*(fail() for _ in range(20)))
    assert most == 1


async def test_only_so_many_are_remembered() -> None:
    """The oldest is forgotten first."""
    recent = RecentMails(remembered=2)
    for key in "abc":
        recent.delivered(key)
    async with recent.claim("a") as forgotten, recent.claim("c") as known:
        assert forgotten
        assert not known
