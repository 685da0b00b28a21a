"""Whether a publisher of the last release can still publish: what today's schemas refuse that a release's took.

`python -m contracts.compatibility 1.2.0` keeps the schemas of a release in `schemas/released/1.2.0`. A change
that breaks nobody may add optional fields, values and alternatives, and loosen limits; anything else needs a
new event type beside the old one.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.schema import FOLDER, Schema, documents

RELEASED: Final = FOLDER / "released"
KEPT: Final = ("event.json", "smtp-settings.json")
"""The schemas by which others write: events, all families in one, and the settings of an installation."""

_LOWEST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_HIGHEST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_UNDECIDABLE: Final = (
    "pattern",
    "format",
    "multipleOf",
    "uniqueItems",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
)
"""Two patterns or conditions cannot be compared: only the same one, or none any more, surely takes as much."""

_ANYTHING: Final = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})


def releases(released: Path = RELEASED) -> list[Path]:
    """The folders of released schemas, oldest first."""
    folders = [folder for folder in released.iterdir() if folder.is_dir()]
    return sorted(folders, key=lambda folder: [int(part) for part in folder.name.split(".")])


def keep(version: str, released: Path = RELEASED) -> Path:
    """Keeps today's schemas as those of `version`. Raises FileExistsError where it was released already."""
    folder = released / version
    folder.mkdir(parents=True)
    for name in KEPT:
        (folder / name).write_text(documents()[name], encoding="utf-8", newline="\n")
    return folder


def breaks(old: Schema, new: Schema) -> list[str]:
    """What `new` refuses and `old` took: a sentence each, with the path of the field."""
    return list(dict.fromkeys(_Comparison(old, new).narrowed(old, new, "")))


@dataclass(frozen=True)
class _Comparison:
    """Two whole documents, in which references are looked up."""

    old: Schema
    new: Schema

    def narrowed(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        """What `new` refuses: each alternative of `old` needs one of `new`; else what the nearest refuses."""
        if not new:
            return
        alternatives = list(_alternatives(new, self.new))
        for before in _alternatives(old, self.old):
            refusals = [list(self._narrowed(before, now, path)) for now in alternatives]
            yield from min(refusals, key=len)

    def _narrowed(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        here = path or "the document"
        yield from _types(old, new, here)
        yield from _values(old, new, here)
        yield from _limits(old, new, here)
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield f"{_join(path, name)} is required now"
        yield from self._fields(old, new, path)
        if "items" in new:
            yield from self.narrowed(_schema(old.get("items", True)), _schema(new["items"]), f"{path}[]")

    def _fields(self, old: Schema, new: Schema, path: str) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name in now:
                yield from self.narrowed(_schema(schema), _schema(now[name]), _join(path, name))
            else:
                yield f"{_join(path, name)} is not read any more"
        further = _schema(new.get("additionalProperties", True))
        yield from self.narrowed(_schema(old.get("additionalProperties", True)), further, _join(path, "*"))


def _alternatives(schema: Schema, document: Schema) -> Iterator[Schema]:
    """The schemas of which one has to match, without references at their top and without further choices."""
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = _both(_looked_up(schema["$ref"], document), rest)
    choice = next((key for key in ("anyOf", "oneOf") if key in schema), None)
    if choice is None:
        yield schema
        return
    rest = {key: value for key, value in schema.items() if key != choice}
    for part in schema[choice]:
        for alternative in _alternatives(_schema(part), document):
            yield from _alternatives(_both(rest, alternative), document)


def _looked_up(reference: str, document: Schema) -> Schema:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return _schema(found)


def _both(one: Schema, other: Schema) -> Schema:
    """A schema that asks what both ask; the second decides where they speak of the same."""
    properties = {
        name: _both(_schema(one.get("properties", {}).get(name, {})), _schema(schema))
        for name, schema in other.get("properties", {}).items()
    }
    merged = {**one, **other}
    if "properties" in merged:
        merged["properties"] = {**one.get("properties", {}), **properties}
    if "required" in merged:
        merged["required"] = [*one.get("required", ()), *other.get("required", ())]
    return merged


def _types(old: Schema, new: Schema, here: str) -> Iterator[str]:
    lost = _allowed_types(old) - _allowed_types(new)
    if lost:
        yield f"{here} may not be of type {', '.join(sorted(lost))} any more"


def _allowed_types(schema: Schema) -> frozenset[str]:
    values = _allowed_values(schema)
    if values is not None:
        return frozenset(_type_of(value) for value in values)
    named = schema.get("type", _ANYTHING)
    types = frozenset({named} if isinstance(named, str) else named)
    return types | {"integer"} if "number" in types else types


def _type_of(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "null")


def _values(old: Schema, new: Schema, here: str) -> Iterator[str]:
    before, now = _allowed_values(old), _allowed_values(new)
    if now is None:
        return
    if before is None:
        yield f"{here} may not be just anything any more"
        return
    lost = [value for value in before if value not in now]
    if lost:
        yield f"{here} may not be {', '.join(map(json.dumps, lost))} any more"


def _allowed_values(schema: Mapping[str, Any]) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _limits(old: Schema, new: Schema, here: str) -> Iterator[str]:
    for name in (*_LOWEST, *_HIGHEST):
        if name in new and not _as_wide(name, old.get(name), new[name]):
            yield f"{here} has a narrower {name} now"
    for name in _UNDECIDABLE:
        if name in new and new[name] != old.get(name):
            yield f"{here} has another {name} now"


def _as_wide(name: str, before: float | None, now: float) -> bool:
    if before is None:
        return False
    return now <= before if name in _LOWEST else now >= before


def _schema(schema: Schema | bool) -> Schema:  # noqa: FBT001 - a schema may be a boolean
    """True takes anything, and false nothing."""
    if isinstance(schema, bool):
        return {} if schema else {"type": []}
    return schema


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


if __name__ == "__main__":
    sys.stdout.write(f"{keep(sys.argv[1])}\n")
