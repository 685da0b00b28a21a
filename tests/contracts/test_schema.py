"""The published JSON Schemas: fresh, valid, and of one mind with models and examples."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contracts.dead_letter import DeadLetter
from contracts.events import EVENT, FAMILIES, family_of
from contracts.schema import FOLDER, documents
from contracts.smtp_settings import SMTP_SETTING_NAMES

EXAMPLES = sorted((FOLDER.parent / "examples").glob("*.json"))
UNUSED = {"severitytext", "severitynumber"}
"""Attributes of CloudEvents' severity extension: for other readers of the exchange, of no use to the worker."""

schemas = pytest.mark.parametrize("name", documents())
examples = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def schema(name: str) -> dict[str, Any]:
    """A published schema, as a publisher would read it."""
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return document


def complaints(document: dict[str, Any], event: object) -> list[str]:
    """What a schema finds wrong with an event."""
    return [error.message for error in Draft202012Validator(document).iter_errors(event)]


def closed(part: Any) -> Any:
    """The same schema with unknown fields forbidden wherever it names fields."""
    if isinstance(part, list):
        return [closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    inner = {key: closed(value) for key, value in part.items()}
    names_fields = part.get("type") == "object" and "properties" in part
    return {**inner, "additionalProperties": False} if names_fields else inner


def family_in(event: object) -> str:
    """The family an event belongs to, as the worker sees it."""
    return family_of(EVENT.validate_python(event))


def test_every_schema_is_there_and_nothing_else() -> None:
    """One for the union, one a family, one for the settings and one for dead letters."""
    expected = {"event", *FAMILIES, "smtp-settings", "dead-letter"}
    assert {path.name for path in FOLDER.glob("*.json")} == {f"{name}.json" for name in expected}


@schemas
def test_a_schema_is_fresh(name: str) -> None:
    """The file is what the models say now; `make schemas` writes it."""
    assert (FOLDER / name).read_text("utf-8") == documents()[name]


@schemas
def test_a_schema_is_valid_and_names_itself(name: str) -> None:
    """JSON Schema 2020-12, with an identity to refer to."""
    document = schema(name.removesuffix(".json"))
    Draft202012Validator.check_schema(document)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == f"urn:notify-worker:schemas:{name.removesuffix('.json')}"


def test_every_family_has_an_example() -> None:
    """Publishers begin with an example, and so does `preview`."""
    assert {family_in(json.loads(example.read_bytes())) for example in EXAMPLES} == set(FAMILIES)


@examples
def test_an_example_matches_the_union_its_family_and_no_other(example: Path) -> None:
    """A schema knows its own events, and only those."""
    event = json.loads(example.read_bytes())
    assert complaints(schema("event"), event) == []
    assert [name for name in FAMILIES if not complaints(schema(name), event)] == [family_in(event)]


@examples
def test_an_example_has_no_field_that_the_models_do_not_know(example: Path) -> None:
    """Readers ignore unknown fields; our own examples must not rely on that."""
    event = json.loads(example.read_bytes())
    known = {name: value for name, value in event.items() if name not in UNUSED}
    assert complaints(closed(schema(family_in(event))), known) == []


def test_an_unknown_field_in_an_example_would_be_found() -> None:
    """The check above is awake, at every depth."""
    event = json.loads((FOLDER.parent / "examples" / "workflow-submit.json").read_bytes())
    event["data"]["recipients"][0]["nickname"] = "Dyl"
    assert complaints(schema("workflow"), event) == []
    assert any("nickname" in complaint for complaint in complaints(closed(schema("workflow")), event))


@examples
def test_an_example_comes_back_from_the_model_as_it_was(example: Path) -> None:
    """Nothing that an example says is lost or changed on the way through the model."""
    event = json.loads(example.read_bytes())
    known = {name: value for name, value in event.items() if name not in UNUSED}
    model = EVENT.validate_python(event)
    again = EVENT.validate_python(model.model_dump(by_alias=True))
    assert again == model
    assert set(known) == set(model.model_dump(by_alias=True, exclude_unset=True))


def test_the_schema_of_the_settings_has_the_twelve_names() -> None:
    """Exact names, and no other."""
    document = schema("smtp-settings")
    assert tuple(document["properties"]) == SMTP_SETTING_NAMES
    assert document["additionalProperties"] is False


def test_the_schema_of_dead_letters_names_headers() -> None:
    """As they stand in the message, not as the model's fields."""
    document = schema("dead-letter")
    assert all(name.startswith("notify-") for name in document["properties"])
    assert len(document["properties"]) == len(DeadLetter.model_fields)
