"""The models as JSON Schemas, for publishers in other languages: `python -m contracts.schema` writes them.

A rule that a model holds as code is told here in the schema's own words. A validator without such words stops
the writing, so that no schema asks less than the worker does.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from contracts.dead_letter import DeadLetter
from contracts.events import EVENT, FAMILIES, MAX_INLINE_ATTACHMENT_BYTES, SCHEDULING_EVENTS
from contracts.smtp_settings import SmtpSettings

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
FOLDER: Final = Path(__file__).parent / "schemas"

Schema = dict[str, Any]

# Written without look-ahead and flags: .NET, ECMAScript and Python read these patterns alike.
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_WORD = rf"[^\s<>@{_CONTROL}]+"
_BARE = rf"[^\s<>@,;{_CONTROL}]+"
_AUTHORITY = rf"[^\s/?#{_CONTROL}]+[^{_CONTROL}]*"
_OFFSET = "([zZ]|[+-][0-9]{2}:[0-9]{2})$"


def _any_case(word: str) -> str:
    return "".join(f"[{letter.lower()}{letter.upper()}]" for letter in word)


def _having(name: str, schema: Schema) -> Schema:
    """An object in which `name` is there and matches."""
    return {"required": [name], "properties": {name: schema}}


_BASE64: Final[Schema] = {
    "type": "string",
    "contentEncoding": "base64",
    "pattern": "^[A-Za-z0-9+/]*={0,2}$",
    "maxLength": -(-MAX_INLINE_ATTACHMENT_BYTES // 3) * 4,
}
_SCHEDULING: Final[Schema] = {"pattern": f"(^|\\.)({'|'.join(sorted(map(_any_case, SCHEDULING_EVENTS)))})$"}
_LINK_AND_EXPIRY: Final[Schema] = {
    "required": ["url", "expires"],
    "properties": {"url": {"type": "string"}, "expires": {"type": "string"}},
}

_VALIDATORS: Final[Mapping[str, Schema]] = {
    "_one_line": {"pattern": f"^[^{_CONTROL}]*$"},
    "_mailbox": {"pattern": f"^([^<>{_CONTROL}]*<{_WORD}(@{_WORD})+> *| *{_BARE}@{_BARE} *)$"},
    "_web_link": {"pattern": f"^[hH][tT][tT][pP][sS]?://{_AUTHORITY}$"},
    "_secure_link": {"pattern": f"^[hH][tT][tT][pP][sS]://{_AUTHORITY}$"},
    "_one_source": {"oneOf": [_having("url", {"type": "string"}), _having("contentBase64", _BASE64)]},
    "_inline_limit": {"$comment": "All inline attachments of an event are limited to 4 MiB, decoded."},
    "_schedule_needed": {
        "if": _having("workflow", _having("transition", _having("event", _SCHEDULING))),
        "then": _having("schedule", {"type": "object"}),
    },
    "_link_needed": {"if": _having("action", {"const": "requested"}), "then": _LINK_AND_EXPIRY},
    "_no_claim_check": {"not": {"required": ["dataref"]}},
}
"""Name of each validator of the contracts -> what it asks, as a schema."""


class _ForPublishers(GenerateJsonSchema):
    """Pydantic's schemas, with the validators' rules, and without what only repeats a name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> JsonSchemaValue:
        return {**super().function_after_schema(schema), **_rule(schema)}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        return {**super().function_before_schema(schema), **_rule(schema)}

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        return {**super().datetime_schema(schema), "pattern": _OFFSET}

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        union = super().tagged_union_schema(schema)
        del union["discriminator"]  # OpenAPI's word; strict validators refuse words they do not know
        return union


def _rule(schema: Mapping[str, Any]) -> Schema:
    return _VALIDATORS[schema["function"]["function"].__name__]


def documents() -> dict[str, str]:
    """File name of each schema -> its text."""
    adapters: dict[str, TypeAdapter[Any]] = {
        "event": EVENT,
        **{family: TypeAdapter(model) for family, model in FAMILIES.items()},
        "smtp-settings": TypeAdapter(SmtpSettings),
        "dead-letter": TypeAdapter(DeadLetter),
    }
    return {f"{name}.json": _document(name, adapter) for name, adapter in adapters.items()}


def by_name(models: Sequence[type[BaseModel]], reference: str) -> Schema:
    """The schemas of `models` and of all they are made of, by name.

    They refer to each other by `reference`, in which `{model}` stands for the name.
    """
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template=reference, schema_generator=_ForPublishers
    )
    return dict(sorted(schemas["$defs"].items()))


def _document(name: str, adapter: TypeAdapter[Any]) -> str:
    schema = adapter.json_schema(schema_generator=_ForPublishers, mode="validation", by_alias=True)
    head = {"$schema": DIALECT, "$id": f"urn:notify-worker:schemas:{name}"}
    return json.dumps({**head, **schema}, ensure_ascii=False, indent=2) + "\n"


def write() -> None:
    """Write every schema to `contracts/schemas`."""
    for name, text in documents().items():
        (FOLDER / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write()
