"""The definitions file for administrators: fresh, complete, and without anybody's password."""

import json
import re

import pytest

from contracts.definitions import FILE, Role, document, permissions, text, user_name, whole_topology

PREFIXES = ("notify", "acme-cms.test")
NAMES = (
    *("events", "unroutable", "work.urgent", "work.standard", "retry.10s"),
    *("dead", "dead.config", "dead.unroutable", "journal", "journal.dead"),
)
ALL = " ".join(NAMES)

prefixes = pytest.mark.parametrize("prefix", PREFIXES)


def test_the_file_is_fresh() -> None:
    """It is what the topology says now; `make definitions` writes it."""
    assert FILE.read_text("utf-8") == text()


@prefixes
def test_everything_of_the_topology_is_in_it(prefix: str) -> None:
    """Exchanges, queues with their arguments, and bindings; all in the virtual host it was made for."""
    wanted, found = whole_topology(prefix), document(prefix, "cms")
    assert [(it["name"], it["type"]) for it in found["exchanges"]] == [
        (it.name, it.type) for it in wanted.exchanges
    ]
    assert {it["name"]: it["arguments"] for it in found["queues"]} == {
        it.name: it.arguments for it in wanted.queues
    }
    assert len(found["bindings"]) == len(wanted.bindings)
    hosts = {it["vhost"] for part in ("permissions", "exchanges", "queues", "bindings") for it in found[part]}
    assert hosts == {"cms"}


def test_it_holds_no_user_and_no_password() -> None:
    """Importing a user replaces the password of one that is there."""
    assert "users" not in document()
    assert "password_hash" not in text()


@prefixes
@pytest.mark.parametrize(
    ("role", "configure", "write", "read"),
    [
        pytest.param(Role.PUBLISHER, "", "events", "", id="a publisher publishes events, and no more"),
        pytest.param(
            Role.WORKER,
            ALL,
            f"{ALL} amq.default",
            "events unroutable work.urgent work.standard retry.10s dead journal",
            id="a worker declares all, and reads no dead letters",
        ),
        pytest.param(
            Role.OPERATOR,
            "",
            "dead amq.default",
            "dead.config dead.unroutable journal journal.dead",
            id="an operator reads dead letters, and publishes them again",
        ),
    ],
)
def test_a_role_may_do_just_what_it_needs(
    prefix: str, role: Role, configure: str, write: str, read: str
) -> None:
    """Of all names there are, and of their likes under another prefix."""
    theirs = permissions(prefix)[role]
    assert allowed(theirs["configure"], prefix) == set(configure.split())
    assert allowed(theirs["write"], prefix) == set(write.split())
    assert allowed(theirs["read"], prefix) == set(read.split())


def allowed(pattern: str, prefix: str) -> set[str]:
    """The names that a permission allows, without the prefix; those of others by their whole name."""
    ours = {f"{prefix}.{name}": name for name in NAMES}
    others = {name: name for name in ("amq.default", "amq.topic", "billing.events", f"{prefix}s.events")}
    likes = {full.replace(".", "-"): full.replace(".", "-") for full in ours}
    return {short for full, short in {**ours, **others, **likes}.items() if re.search(pattern, full)}


def test_users_are_named_after_the_prefix() -> None:
    """So that two installations can share a broker."""
    users = [it["user"] for it in json.loads(text("acme"))["permissions"]]
    assert (
        users
        == [user_name(role, "acme") for role in Role]
        == ["acme-publisher", "acme-worker", "acme-operator"]
    )
