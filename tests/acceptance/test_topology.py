"""`notify-worker topology`, as an administrator uses it."""

import json

import pytest

from contracts.definitions import document
from contracts.topology import dead_queue
from deploy.local.rabbitmq import free_ports
from tests.acceptance.conftest import World
from tests.support.worker import command


@pytest.fixture(autouse=True)
async def whole(world: World) -> None:
    """Everything is declared, by the command itself."""
    code, _, err = await command(["topology", "apply"], world.settings)
    assert code == 0, err


async def test_a_broker_as_it_should_be_passes(world: World) -> None:
    """Exit code 0; nothing on stdout, and on stderr what was not seen."""
    code, out, err = await command(["topology", "check"], world.settings)
    assert (code, out) == (0, "")
    assert "All is as it should be." in err
    assert "--management" in err


async def test_a_missing_queue_is_found_declared_and_there(world: World) -> None:
    """`check` says what to do, `apply` does it and says so, and `check` passes."""
    name = dead_queue("config", world.prefix)
    await world.channel.queue_delete(name)
    code, out, _ = await command(["topology", "check"], world.settings)
    assert (code, out) == (1, f"queue {name} is missing\n    1. notify-worker topology apply\n")
    code, out, _ = await command(["topology", "apply"], world.settings)
    assert (code, out) == (0, f"declared queue {name}\n")
    code, _, _ = await command(["topology", "check"], world.settings)
    assert code == 0


async def test_a_difference_stops_apply(world: World) -> None:
    """Exit code 1 for `check` and 2 for `apply`; both print the steps that mend it."""
    name = dead_queue("poison", world.prefix)
    await world.channel.queue_delete(name)
    await world.channel.declare_queue(name, durable=True)
    for action, expected in (("check", 1), ("apply", 2)):
        code, out, err = await command(["topology", action], world.settings)
        assert code == expected
        assert out.startswith(f"queue {name}: x-queue-type is ")
        assert f"rabbitmqctl delete_queue --vhost / {name}" in out
        assert "1 of " in err


async def test_json_is_one_document_with_everything(world: World) -> None:
    """Also what is right."""
    code, out, _ = await command(["topology", "check", "--json"], world.settings)
    assert code == 0
    found = json.loads(out)
    assert {tuple(it) for it in found} == {("kind", "name", "state", "text", "fix")}
    assert {it["kind"]: it["state"] for it in found} == {
        "exchange": "present",
        "queue": "present",
        "binding": "unseen",
    }


async def test_a_broker_that_is_away_is_told(world: World) -> None:
    """Exit code 3, and the setting to look at; the same for the management API."""
    away = f"127.0.0.1:{free_ports(1)[0]}"
    code, _, err = await command(
        ["topology", "check"], {**world.settings, "NOTIFY_BROKER_URL": f"amqp://{away}/"}
    )
    assert (code, "NOTIFY_BROKER_URL" in err) == (3, True)
    code, _, err = await command(["topology", "apply", "--management", f"http://{away}"], world.settings)
    assert (code, "--management" in err) == (3, True)


async def test_a_management_url_that_is_none_is_refused(world: World) -> None:
    """Exit code 2, as all wrong usage."""
    code, _, err = await command(["topology", "check", "--management", "localhost:15672"], world.settings)
    assert code == 2
    assert "http://localhost:15672" in err


async def test_a_wrong_password_is_refused(world: World) -> None:
    """Exit code 2."""
    settings = {**world.settings, "NOTIFY_BROKER_URL": world.url.replace("guest:guest", "guest:wrong")}
    code, _, err = await command(["topology", "check"], settings)
    assert code == 2
    assert "NOTIFY_BROKER_URL" in err


async def test_the_definitions_are_those_of_the_settings(world: World) -> None:
    """Prefix and virtual host; no broker is asked."""
    settings = {**world.settings, "NOTIFY_BROKER_URL": "amqp://127.0.0.1:1/cms"}
    code, out, _ = await command(["topology", "definitions"], settings)
    assert code == 0
    assert json.loads(out) == document(world.prefix, "cms")
