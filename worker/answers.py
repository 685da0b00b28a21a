"""The answers of a form response as people read them: by page, with the labels of choices."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from contracts.events import FormData, FormField
from worker.wording import Reader

SYSTEM_FIELDS: Final = frozenset({"sys", "entryTitle", "entryDescription"})
"""What the CMS adds to a response: no answers."""

_EMPTY: Final[tuple[JsonValue, ...]] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the form; rows are label and answer. What belongs to no page is on one without a name."""

    name: str
    rows: tuple[tuple[str, str], ...]


class Answers:
    """One form response for one reader."""

    def __init__(self, data: FormData, reader: Reader) -> None:
        self._form = data.form
        self._response = data.response
        self._reader = reader
        self._labels = {field.id: _labels(field, reader) for field in data.form.fields}

    def pages(self) -> list[Page]:
        """The answers page by page; fields of no page and undeclared ones come last."""
        groups = {group.id: self._reader.said(group.name) for group in self._form.groups}
        pages = [Page(name, tuple(self._rows(group_id))) for group_id, name in groups.items()]
        declared = {field.id for field in self._form.fields}
        strays = [self._row(field) for field in self._form.fields if field.group_id not in groups]
        pages.append(Page("", (*strays, *self._undeclared(declared))))
        return [page for page in pages if page.rows]

    def by_field(self) -> dict[str, str]:
        """Field id -> its answer as the pages show it, but nothing for what was not answered."""
        return {field: self._answer(field, value) for field, value in self._response.items()}

    def reference(self) -> str | None:
        """The answer of the form's reference field, if it has one."""
        fields = (field.id for field in self._form.fields if field.data_format == "reference")
        found = (self._answer(field, self._response.get(field)) for field in fields)
        return next(filter(None, found), None)

    def _rows(self, group_id: str) -> Iterator[tuple[str, str]]:
        return (self._row(field) for field in self._form.fields if field.group_id == group_id)

    def _row(self, field: FormField) -> tuple[str, str]:
        answer = self._answer(field.id, self._response.get(field.id))
        return self._reader.said(field.name), answer or self._phrase("value.empty")

    def _undeclared(self, declared: set[str]) -> Iterator[tuple[str, str]]:
        for field, answer in self.by_field().items():
            if answer and field not in declared and field not in SYSTEM_FIELDS:
                yield field, answer

    def _answer(self, field: str, value: JsonValue) -> str:
        if isinstance(value, list):
            items = (self._answer_item(field, item) for item in value)
            return self._phrase("value.separator").join(filter(None, items))
        return self._answer_item(field, value)

    def _answer_item(self, field: str, value: JsonValue) -> str:
        if value in _EMPTY:
            return ""
        stored = _stored(value).strip()
        label = self._labels.get(field, {}).get(stored)
        if label is None and isinstance(value, bool):
            return self._phrase("value.yes" if value else "value.no")
        return stored if label is None else label

    def _phrase(self, key: str) -> str:
        return self._reader.wording.say({}, key)


def _labels(field: FormField, reader: Reader) -> Mapping[str, str]:
    return {_stored(choice.value): reader.said(choice.label) for choice in field.labeled_values}


def _stored(value: JsonValue) -> str:
    """A value as text: an object, such as a link to an entry, by its title if it has one, else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and isinstance(title := value.get("entryTitle"), str):
        return title
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
