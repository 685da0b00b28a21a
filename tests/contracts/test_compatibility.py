"""No change of the schemas breaks a publisher of the last release, and each rule of that is awake."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.compatibility import KEPT, breaks, keep, releases
from contracts.schema import FOLDER

Change = Callable[[dict[str, Any]], Any]

OLD: dict[str, Any] = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "size": {"type": "integer", "maximum": 9},
        "mail": {"type": "string", "pattern": "@"},
        "lane": {"enum": ["urgent", "standard"]},
        "kind": {"const": "form"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "people": {"type": "array", "items": {"$ref": "#/$defs/Person"}},
        "answers": {"type": "object", "additionalProperties": {}},
    },
    "$defs": {"Person": {"type": "object", "properties": {"name": {"type": "string"}}}},
}


def field(name: str, **schema: Any) -> Change:
    """A field gets another schema."""
    return lambda document: document["properties"].__setitem__(name, schema)


def also(name: str, **keywords: Any) -> Change:
    """A field's schema gets more keywords."""
    return lambda document: document["properties"][name].update(keywords)


def everything(**keywords: Any) -> Change:
    """The document itself gets more keywords."""
    return lambda document: document.update(keywords)


def person(**keywords: Any) -> Change:
    """What is referred to gets more keywords."""
    return lambda document: document["$defs"]["Person"].update(keywords)


def without(name: str) -> Change:
    """A field is gone."""
    return lambda document: document["properties"].pop(name)


def changed(change: Change) -> dict[str, Any]:
    """The schema after a change."""
    new: dict[str, Any] = json.loads(json.dumps(OLD))
    change(new)
    return new


BREAKING = [
    pytest.param(everything(required=["id", "size"]), "size is required now", id="an optional field"),
    pytest.param(field("id", type="integer"), "id may not be of type string any more", id="another type"),
    pytest.param(without("mail"), "mail is not read any more", id="a field is gone"),
    pytest.param(also("id", minLength=2), "id has a narrower minLength now", id="a lower limit rises"),
    pytest.param(also("size", maximum=8), "size has a narrower maximum now", id="an upper limit falls"),
    pytest.param(also("size", minimum=0), "size has a narrower minimum now", id="a limit where none was"),
    pytest.param(also("mail", pattern="@."), "mail has another pattern now", id="another pattern"),
    pytest.param(also("id", format="uuid"), "id has another format now", id="a format where none was"),
    pytest.param(field("lane", enum=["urgent"]), 'lane may not be "standard" any more', id="a value is gone"),
    pytest.param(field("kind", const="entry"), 'kind may not be "form" any more', id="another constant"),
    pytest.param(
        also("id", enum=["1", "2"]), "id may not be just anything any more", id="values where all were taken"
    ),
    pytest.param(
        field("note", type="string"), "note may not be of type null any more", id="an alternative is gone"
    ),
    pytest.param(person(required=["name"]), "people[].name is required now", id="behind a reference"),
    pytest.param(
        field("people", type="array", items={"type": "string"}),
        "people[] may not be of type object any more",
        id="other items",
    ),
    pytest.param(
        field("answers", type="object", additionalProperties={"type": "string"}),
        "answers.* may not be of type array, boolean, integer, null, number, object any more",
        id="fields of any name",
    ),
    pytest.param(
        everything(**{"if": {"required": ["mail"]}, "then": {"required": ["size"]}}),
        "the document has another if now",
        id="a condition",
    ),
    pytest.param(
        everything(oneOf=[{"required": ["size"]}, {"required": ["mail"]}]),
        "size is required now",
        id="one of two fields",
    ),
]

HARMLESS = [
    pytest.param(field("further", type="string"), id="a new optional field"),
    pytest.param(everything(required=[]), id="a field that may be left out"),
    pytest.param(field("size", type="number", maximum=9), id="a wider type"),
    pytest.param(also("size", maximum=10), id="a wider limit"),
    pytest.param(field("mail", type="string"), id="no pattern any more"),
    pytest.param(field("lane", enum=["urgent", "standard", "bulk"]), id="a new value"),
    pytest.param(field("kind", enum=["form", "entry"]), id="a choice where one value was"),
    pytest.param(
        field("note", anyOf=[{"type": "null"}, {"type": "integer"}, {"type": "string"}]), id="an alternative"
    ),
    pytest.param(field("id", anyOf=[{"type": "string"}, {"type": "integer"}]), id="an alternative to one"),
    pytest.param(also("id", description="Another one.", default="", title="Id"), id="words"),
    pytest.param(field("answers"), id="a field that may be anything"),
]


@pytest.mark.parametrize(("change", "sentence"), BREAKING)
def test_a_change_that_breaks_publishers_is_told(change: Change, sentence: str) -> None:
    """With the path of the field, and nothing else."""
    assert sentence in breaks(OLD, changed(change))


@pytest.mark.parametrize("change", HARMLESS)
def test_a_change_that_breaks_nobody_passes(change: Change) -> None:
    """Publishers need not know of it."""
    assert breaks(OLD, changed(change)) == []


def test_a_family_that_is_gone_is_told() -> None:
    """An alternative at the top, told by what is nearest to it."""
    old = {"oneOf": [{"type": "object", "properties": {"type": {"const": name}}} for name in "ab"]}
    assert breaks(old, {"oneOf": old["oneOf"][:1]}) == ['type may not be "b" any more']


@pytest.mark.parametrize("name", KEPT)
def test_todays_schemas_break_nobody_of_the_last_release(name: str) -> None:
    """If this fails, keep what was and add beside it; an incompatible event is a new type."""
    released = json.loads((releases()[-1] / name).read_bytes())
    assert breaks(released, json.loads((FOLDER / name).read_bytes())) == []


@pytest.mark.parametrize(
    ("path", "change", "sentence"),
    [
        pytest.param(
            ("Recipient", "required"),
            ["email", "reason", "language"],
            "data.recipients[].language is required now",
            id="a field of a part",
        ),
        pytest.param(
            ("RecipientReason", "enum"),
            ["approver"],
            'data.recipients[].reason may not be "chosenApprover", ',
            id="values of a part",
        ),
    ],
)
def test_the_real_schemas_are_understood(path: tuple[str, str], change: Any, sentence: str) -> None:
    """Through the union, references and lists, down to a person's field."""
    old = json.loads((FOLDER / "event.json").read_bytes())
    new = json.loads((FOLDER / "event.json").read_bytes())
    new["$defs"][path[0]][path[1]] = change
    assert any(told.startswith(sentence) for told in breaks(old, new))


def test_a_release_is_kept_once(tmp_path: Path) -> None:
    """What publishers were given is not written anew."""
    for version in ("1.10.0", "1.9.0"):
        keep(version, tmp_path)
    with pytest.raises(FileExistsError):
        keep("1.9.0", tmp_path)
    assert [folder.name for folder in releases(tmp_path)] == ["1.9.0", "1.10.0"]
    assert {path.name for path in (tmp_path / "1.9.0").iterdir()} == set(KEPT)
