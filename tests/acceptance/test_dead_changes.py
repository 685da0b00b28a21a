"""Dead letters are discarded, brought back, edited and imported: nothing is lost, nothing is there twice."""

import json
from typing import Any, Final

import pytest
from aio_pika.abc import AbstractIncomingMessage

from contracts.dead_letter import Reason
from contracts.topology import dead_queue
from tests.acceptance.conftest import World
from tests.support.amqp import take_all, until
from tests.support.examples import SYSTEM, fresh_example
from tests.support.letters import bury, dead, declare_journal, seen
from tests.support.load import addresses, message_to
from tests.support.worker import command

CODE: Final = Reason.RECIPIENT_REFUSED


async def notify(world: World, *arguments: str, stdin: bytes = b"") -> tuple[int, Any, str]:
    """Exit code, JSON document and talk of a `dead` command."""
    code, out, err = await command(["dead", *arguments, "--json"], world.settings, stdin=stdin)
    return code, json.loads(out) if out else {}, err


@pytest.fixture
async def ids(world: World) -> list[str]:
    """Ten dead letters of one code, and their ids."""
    await declare_journal(world.url, world.prefix)
    letters = [dead(message_to(address), CODE, world.prefix) for address in addresses(10)]
    return await bury(world.channel, world.prefix, letters)


async def test_what_was_discarded_comes_back_as_it_was(world: World, ids: list[str]) -> None:
    """The others have never moved; a second restore brings back nothing more."""
    chosen = ids[3:6]
    code, said, _ = await notify(world, "discard", *chosen, "--reason", "a test", "--by", "ann")
    assert (code, said["discarded"], said["ids"]) == (0, 3, chosen)
    code, listed, _ = await notify(world, "list", "--limit", "99")
    assert {letter["dead_id"] if "dead_id" in letter else letter["id"] for letter in listed} == {*ids} - {
        *chosen
    }
    code, said, err = await notify(world, "restore", CODE)
    assert code == 0, err
    assert (said["restored"], said["there"]) == (3, 7)
    code, said, _ = await notify(world, "restore", CODE)
    assert (code, said["restored"], said["there"]) == (1, 0, 10)
    letters = await take_all(world.channel, dead_queue("exhausted", world.prefix))
    assert [letter.headers["notify-dead-id"] for letter in letters] == [*ids[:3], *ids[6:], *chosen]
    assert {letter.headers["x-tenant"] for letter in letters} == {"a publisher's own"}


async def test_what_was_sent_again_does_not_come_back(world: World, ids: list[str]) -> None:
    """It was delivered."""
    worker = await world.worker()
    assert (await notify(world, "retry", ids[0]))[0] == 0
    await worker.until_said(outcome="delivered")
    code, said, _ = await notify(world, "restore", ids[0])
    assert (code, said["restored"], said["sent_again"]) == (1, 0, 1)


async def test_an_export_can_be_imported_again(world: World, ids: list[str]) -> None:
    """Headers, properties and bodies are those of before; what is there is not imported."""
    code, out, err = await command(["dead", "export", "--reveal"], world.settings)
    assert code == 0, err
    before = await take_all(world.channel, dead_queue("exhausted", world.prefix))
    code, said, err = await notify(world, "import", "-", stdin=out.encode())
    assert code == 0, err
    assert said["restored"] == len(ids)
    code, said, _ = await notify(world, "import", "-", stdin=out.encode())
    assert (code, said["restored"], said["there"]) == (1, 0, len(ids))
    after = await take_all(world.channel, dead_queue("exhausted", world.prefix))
    assert sorted(seen(after), key=str) == sorted(seen(before), key=str)
    assert {_properties(letter) for letter in after} == {_properties(letter) for letter in before}


def _properties(letter: AbstractIncomingMessage) -> tuple[Any, ...]:
    return letter.message_id, letter.timestamp, letter.content_type


async def test_an_edited_letter_takes_the_place_of_the_old_one_and_can_be_sent(world: World) -> None:
    """Another event, linked to the letter that it was."""
    event = fresh_example(SYSTEM)
    await world.worker()
    (old,) = await bury(world.channel, world.prefix, [dead(event, CODE, world.prefix, owed="1")])
    field = "data.recipients.1.email"
    code, said, err = await notify(
        world, "edit", old, "--set", f"{field}=right@broddu.example", "--why", "a typo"
    )
    assert code == 0, err
    assert (said["edited_from"], said["fields"]) == (old, [field])
    code, shown, _ = await notify(world, "list")
    assert len(shown) == 1
    assert (await notify(world, "retry", said["id"], "--by", "ann"))[0] == 0
    await until(lambda: world.recipients() == ["right@broddu.example"])
    assert await world.dead_letters() == {}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "data.recipients.0.email=7"], "would not be an event"),
        (["--set", "data.nowhere.email=x"], "There is no field"),
        (["--set", "id=x"], "The id is given"),
        (["--set", "data.recipients=[]"], "would not be an event"),
    ],
    ids=["a number as an address", "no such field", "the id", "nobody left"],
)
async def test_an_edit_that_makes_no_event_changes_nothing(
    world: World, ids: list[str], arguments: list[str], sentence: str
) -> None:
    """The sentence says which field, and repeats no value."""
    code, _, err = await notify(world, "edit", ids[0], *arguments, "--why", "a test")
    assert code == 2
    assert sentence in err
    letters = await take_all(world.channel, dead_queue("exhausted", world.prefix))
    assert [letter.headers["notify-dead-id"] for letter in letters] == ids


async def test_nothing_is_changed_without_saying_what(world: World, ids: list[str]) -> None:
    """And what nobody has leads to exit code 1."""
    assert (await notify(world, "retry"))[0] == 2
    assert (await notify(world, "retry", "no-such-id"))[0] == 1
    assert (await notify(world, "retry", "--all", "--dry-run"))[1]["send"] == len(ids)
    assert (await notify(world, "discard", "--all", "--reason", "a test", "--dry-run"))[1]["discarded"] == 0
    assert await world.dead_letters() == {"dead.exhausted": len(ids)}


async def test_without_a_journal_the_command_says_what_that_costs_and_asks(world: World) -> None:
    """With --yes it goes on."""
    await bury(world.channel, world.prefix, [dead(message_to("e@b.example"), CODE, world.prefix)])
    code, _, err = await notify(world, "retry", CODE)
    assert code == 2
    assert "--yes" in err
    assert "sent twice" in err
    assert (await notify(world, "retry", CODE, "--canary", "1", "--yes"))[0] == 2
    assert (await notify(world, "discard", CODE, "--reason", "a test"))[0] == 2
    assert (await notify(world, "retry", CODE, "--yes"))[0] == 0
    assert await world.unfinished() == {"work.standard": 1}
