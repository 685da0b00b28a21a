"""The AsyncAPI document: fresh, of one mind with topology and examples, and valid by AsyncAPI's own parser."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from contracts.asyncapi import ADDRESSES, FILE, document, text
from contracts.dead_letter import DeadLetter
from contracts.events import EVENT, FAMILIES, family_of
from contracts.topology import LANE_KEYS, topology
from tests.support.examples import NAMES, example
from tests.support.node import CHECKERS, node_for

DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
NEWER_VERSIONS_EXIST = "asyncapi-latest-version"


def test_the_document_is_fresh() -> None:
    """The file is what models, topology and examples say now; `make schemas` writes it."""
    assert FILE.read_text("utf-8") == text()
    assert json.loads(json.dumps(document())) == DOCUMENT


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_published_with_a_key_of_its_channel(name: str) -> None:
    """The document's address and the model's routing key are the same."""
    event = EVENT.validate_python(example(name))
    family = family_of(event)
    parts = r"\.".join(["[^.]+"] * (len(ADDRESSES[family]) - 1) + [".+"])
    assert re.fullmatch(rf"{family}\.{parts}", event.routing_key())


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_in_the_document(name: str) -> None:
    """With its family's message."""
    messages = DOCUMENT["components"]["messages"].values()
    shown = {it["name"]: it["payload"] for message in messages for it in message.get("examples", ())}
    assert shown[name] == example(name)


def test_every_address_belongs_to_a_lane() -> None:
    """A key that the document names is routed."""
    families = [key.removesuffix(".#") for keys in LANE_KEYS.values() for key in keys]
    assert sorted(ADDRESSES) == sorted(families) == sorted(FAMILIES)


def test_exchanges_are_those_of_the_topology() -> None:
    """By name and type."""
    declared = {exchange.name: exchange.type for exchange in topology().exchanges}
    named = [channel["bindings"]["amqp"]["exchange"] for channel in DOCUMENT["channels"].values()]
    assert all(declared[exchange["name"]] == exchange["type"] for exchange in named)


def test_headers_of_dead_letters_are_all_there() -> None:
    """As the messages have them."""
    headers = DOCUMENT["components"]["schemas"]["DeadLetter"]["properties"]
    assert len(headers) == len(DeadLetter.model_fields)


def test_asyncapis_own_parser_takes_it() -> None:
    """Every reference leads somewhere, every example matches its schema; nothing is even warned of."""
    done = subprocess.run(  # noqa: S603 - our own program
        [node_for(CHECKERS), CHECKERS / "asyncapi.js", FILE],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = json.loads(done.stdout)
    assert [it for it in said["complaints"] if it["code"] != NEWER_VERSIONS_EXIST] == []
    assert said["valid"]
    assert said["channels"] == [channel["address"] for channel in DOCUMENT["channels"].values()]
