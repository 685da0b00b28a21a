"""`notify-worker doctor`, at brokers in good health and others."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage
from yarl import URL

from contracts.topology import Lane, dead_queue, dead_stream, journal_stream, work_queue
from deploy.local.rabbitmq import PrivateRabbitMQ, free_ports
from tests.acceptance.conftest import World
from tests.support.amqp import declared
from tests.support.dns_server import DnsServer
from tests.support.examples import PASSWORD_RESET, fresh_example
from tests.support.worker import command
from worker.doctor import look
from worker.findings import Finding, Mark

REV = "0" * 12
CHECK_STEPS = ["settings", "plan", "dns", "tcp", "greeting", "tls", "ehlo", "token", "auth", "spf", "dmarc"]


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    """A DNS server of ours, so that nobody else's is asked."""
    async with DnsServer({"example.com": [{"TXT": "v=spf1 ip4:127.0.0.1 -all"}]}) as server:
        yield server


async def doctor(world: World, dns: DnsServer, **settings: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, the document and stderr."""
    known = {**world.settings, "NOTIFY_DEFAULT_FROM": "cms@example.com", **settings}
    code, out, err = await command(["doctor", "--resolver", dns.address, "--json"], known)
    return code, json.loads(out), err


async def looked(world: World, url: str = "", management: str | None = None) -> dict[str, list[Finding]]:
    """The findings at the broker, by step."""
    found: dict[str, list[Finding]] = {}
    async for finding in look(url or world.url, world.prefix, REV, management):
        found.setdefault(finding.step, []).append(finding)
    return found


def of(document: list[dict[str, Any]], step: str) -> list[dict[str, Any]]:
    """The findings of a step."""
    return [finding for finding in document if finding["step"] == step]


async def test_a_broker_in_good_health_passes(world: World, dns: DnsServer) -> None:
    """Exit code 0; every step in order, then those of `check`; what was not seen is said, with the command."""
    worker = await world.worker(NOTIFY_DEFAULT_FROM="cms@example.com")
    await world.publish(fresh_example(PASSWORD_RESET))
    await worker.until_said(outcome="delivered")
    code, document, err = await doctor(world, dns)
    assert code == 0, document
    steps = list(dict.fromkeys(finding["step"] for finding in document))
    assert steps[:9] == [
        "broker",
        "rights",
        "flags",
        "topology",
        "limits",
        "queues",
        "dead",
        "journal",
        "clock",
    ]
    assert steps[9:] == CHECK_STEPS
    assert set(document[0]) == {"step", "ok", "code", "text", "settings", "detail", "hint"}
    unseen = of(document, "broker")[1]
    assert (unseen["code"], unseen["ok"]) == ("unclear", True)
    assert "--management" in unseen["hint"]
    assert [it["text"] for it in of(document, "queues")] == [
        f"{work_queue(lane, world.prefix)}: 0 waiting, consumers: 1" for lane in Lane
    ]
    assert not [it for it in of(document, "journal") if it["code"]]
    assert "notify-worker whereis" in err


async def test_a_user_with_fewer_rights_is_told_which_and_how_to_get_them(
    world: World, broker_node: PrivateRabbitMQ
) -> None:
    """Every right is tried; nothing is left behind, and no event is taken or counted."""
    user, ours = f"u-{world.prefix}", f"^{world.prefix}\\."
    broker_node.ctl("add_user", user, "secret")
    tiers = f"^{world.prefix}\\.(?!retry\\.1m)"
    broker_node.ctl("set_permissions", user, ours, tiers, f"{ours}(?!work\\.urgent|dead\\.|journal)")
    await world.publish(fresh_example(PASSWORD_RESET))
    await _declare_streams(world)
    before = _left(broker_node)
    url = str(URL(world.url).with_user(user).with_password("secret"))
    rights = (await looked(world, url))["rights"]
    texts = [finding.text for finding in rights]
    assert texts == [
        f"This user may not write amq.default, {world.prefix}.retry.1m, {world.prefix}.retry.1m.",
        f"This user may not read {world.prefix}.work.urgent, {world.prefix}.journal.",
    ]
    assert f"rabbitmqctl set_permissions --vhost / {user} " in rights[0].hint
    assert _left(broker_node) == before
    message = await (await world.channel.get_queue(work_queue(Lane.URGENT, world.prefix))).get()
    assert not message.redelivered
    broker_node.ctl("delete_user", user)


def _left(node: PrivateRabbitMQ) -> list[str]:
    queues = node.ctl("list_queues", "name", "messages", "consumers")
    return sorted([*queues.splitlines(), *node.ctl("list_bindings").splitlines()])


async def _declare_streams(world: World) -> None:
    code, _, err = await command(["topology", "apply"], world.settings)
    assert code == 0, err


async def test_events_that_nobody_takes_are_a_problem(world: World, dns: DnsServer) -> None:
    """Exit code 1, and the next command; without events it is only said."""
    await _declare_streams(world)
    await world.publish(fresh_example(PASSWORD_RESET))
    code, document, _ = await doctor(world, dns)
    urgent, standard = of(document, "queues")
    assert code == 1
    assert (urgent["ok"], standard["ok"], standard["code"]) == (False, True, "warning")
    assert "1 waiting, and nobody consumes" in urgent["text"]
    assert "notify-worker run" in urgent["hint"]


async def test_dead_letters_a_missing_queue_and_a_difference_are_told(world: World) -> None:
    """Each with its steps; somebody who takes dead letters out is told too."""
    await _declare_streams(world)
    for name in ("config", "poison"):
        await world.channel.queue_delete(dead_queue(name, world.prefix))
    await world.channel.declare_queue(dead_queue("poison", world.prefix), durable=True)
    exhausted = await world.channel.get_queue(dead_queue("exhausted", world.prefix))
    await world.channel.default_exchange.publish(Message(b"{}"), exhausted.name)
    missing, differs = (found := await looked(world))["topology"]
    assert missing.mark is differs.mark is Mark.FAILED
    assert missing.text == f"1 missing: queue {dead_queue('config', world.prefix)}."
    assert missing.hint == "Run: notify-worker topology apply"
    assert "1. rabbitmqctl delete_queue" in differs.hint
    assert found["dead"][0].hint == "Run: notify-worker dead"
    assert f"Dead letters wait: {exhausted.name} 1." in found["dead"][0].text
    await exhausted.consume(_taken, no_ack=True)
    assert any("somebody takes out" in it.text for it in (await looked(world))["queues"])


async def _taken(_message: AbstractIncomingMessage) -> None:
    """What somebody does with dead letters who should not."""


async def test_a_broker_without_a_journal_is_told_what_that_costs(world: World) -> None:
    """Not a problem: the worker works, and sends again what it does not know."""
    for stream in (journal_stream(world.prefix), dead_stream(world.prefix)):
        await world.channel.queue_delete(stream)
    (journal,) = (await looked(world))["journal"]
    assert journal.mark is Mark.WARNING
    assert "whereis" in journal.text


async def test_a_broker_that_is_away_leaves_what_check_can_do(world: World, dns: DnsServer) -> None:
    """Exit code 3; a wrong password is 2; both name the setting, and neither the password."""
    away = f"amqp://guest:hunter2@127.0.0.1:{free_ports(1)[0]}/"
    wrong = world.url.replace("guest:guest", "guest:hunter2")
    for url, expected in ((away, 3), (wrong, 2)):
        code, document, err = await doctor(world, dns, NOTIFY_BROKER_URL=url)
        assert code == expected
        assert document[0]["settings"] == ["NOTIFY_BROKER_URL"]
        assert of(document, "clock")[0]["code"] == "not-reached"
        assert of(document, "auth")[0]["ok"] is True
        assert "hunter2" not in json.dumps(document) + err


async def test_settings_that_cannot_be_read_are_one_document(world: World, dns: DnsServer) -> None:
    """Exit code 2; nothing else is reached."""
    code, document, _ = await doctor(world, dns, EmailSmtpPort="abc")
    assert code == 2
    assert [it["step"] for it in document if it["ok"] is False] == ["settings"]


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitMQ]:
    """A broker with its management API."""
    with PrivateRabbitMQ(tmp_path_factory.mktemp("managed"), management=True) as node:
        yield node


async def test_the_management_api_tells_of_policies_bindings_and_the_clock(managed: PrivateRabbitMQ) -> None:
    """A policy that makes looking at dead letters destroy them is a problem, named with the way to it."""
    managed.ctl("set_policy", "--apply-to", "queues", "short", r"^p\.dead\.", '{"delivery-limit": 3}')
    managed.ctl("set_policy", "--apply-to", "queues", "gone", r"^p\.work\.", '{"message-ttl": 1000}')
    async with declared(managed.url, "p"):
        found: dict[str, list[Finding]] = {}
        async for finding in look(managed.url, "p", REV, managed.management_url):
            found.setdefault(finding.step, []).append(finding)
    assert [it.mark for it in found["broker"]] == [Mark.OK]
    harmed = {it.text.partition(",")[0]: it for it in found["limits"]}
    config = harmed["p.dead.config"]
    assert (config.mark, harmed["p.work.urgent"].mark) == (Mark.FAILED, Mark.WARNING)
    assert "by policy short: a message is handed out 3 times only" in config.text
    assert "rabbitmqctl list_policies --vhost /" in config.hint
    assert "not seen" not in found["topology"][-1].text
    assert found["clock"][0].text == "within 5 s of the broker's"


async def test_a_management_api_that_was_named_and_is_away_is_told(world: World) -> None:
    """What was not seen, and the option."""
    found = await looked(world, management=f"http://127.0.0.1:{free_ports(1)[0]}")
    assert found["broker"][1].mark is Mark.WARNING
    assert "--management" in found["broker"][1].text
    assert found["limits"][0].mark is Mark.UNCLEAR
