"""The answers of a form as people read them."""

from typing import Any

import pytest

from contracts.events import FormEvent
from tests.support.examples import FORM, event_of, example
from worker.answers import Answers
from worker.stationery import bundled
from worker.wording import UTC, Reader

READER = Reader(bundled().wordings["cy"], ("cy", "en-GB"), UTC)


def answers(fields: list[dict[str, Any]], response: dict[str, Any], *groups: dict[str, Any]) -> Answers:
    """The answers of a form with these fields and pages."""
    document = example(FORM)
    document["data"]["form"] |= {"fields": fields, "groups": list(groups)}
    document["data"]["response"] = response
    event = event_of(document)
    assert isinstance(event, FormEvent)
    return Answers(event.data, READER)


def field(field_id: str = "a", **more: Any) -> dict[str, Any]:
    """A field of the form."""
    return {"id": field_id, "name": field_id.upper(), **more}


CHOICES = [
    {"value": "x", "label": {"en-GB": "Ex", "cy": "Ecs"}},
    {"value": 1, "label": "One"},
    {"value": True, "label": "Agreed"},
]


@pytest.mark.parametrize(
    ("value", "choices", "shown"),
    [
        pytest.param("text", [], "text", id="text"),
        pytest.param(" a\n\nb \n", [], "a\n\nb", id="lines-stay"),
        pytest.param(True, [], "Ie", id="yes"),
        pytest.param(False, [], "Na", id="no"),
        pytest.param(0, [], "0", id="zero"),
        pytest.param(1.5, [], "1.5", id="decimal"),
        pytest.param(["a", "b"], [], "a, b", id="list"),
        pytest.param(["a", "", None, True], [], "a, Ie", id="list-with-gaps"),
        pytest.param("x", CHOICES, "Ecs", id="label"),
        pytest.param(["x", "other"], CHOICES, "Ecs, other", id="labels-where-there-are"),
        pytest.param(1, CHOICES, "One", id="label-of-a-number"),
        pytest.param(True, CHOICES, "Agreed", id="label-of-yes"),
        pytest.param(None, [], "Heb ei ateb", id="null"),
        pytest.param("", [], "Heb ei ateb", id="empty"),
        pytest.param("  ", [], "Heb ei ateb", id="blank"),
        pytest.param([], [], "Heb ei ateb", id="empty-list"),
        pytest.param({}, [], "Heb ei ateb", id="empty-object"),
        pytest.param({"entryTitle": "News", "sys": {}}, [], "News", id="entry"),
        pytest.param({"ŷ": [1, None]}, [], '{"ŷ":[1,null]}', id="object"),
        pytest.param([[1, 2]], [], "[1,2]", id="list-in-a-list"),
    ],
)
def test_an_answer_is_shown_as_people_say_it(value: Any, choices: list[Any], shown: str) -> None:
    """Labels, words for yes and no, and a word for what was not answered."""
    [page] = answers([field(labeledValues=choices)], {"a": value}).pages()
    assert page.rows == (("A", shown),)


def test_a_field_that_was_not_sent_was_not_answered() -> None:
    """Declared fields are all shown."""
    [page] = answers([field()], {}).pages()
    assert page.rows == (("A", "Heb ei ateb"),)


def test_fields_stand_on_their_pages_and_strays_come_last() -> None:
    """In the form's order; undeclared answers at the very end, the CMS's own fields not at all."""
    pages = answers(
        [field("stray", groupId="gone"), field("two", groupId="2"), field("one", groupId="1"), field("none")],
        {"new": "n", "empty": "", "sys": {"id": "1"}, "entryTitle": "t", "one": "1", "two": "2", "stray": "s"},
        {"id": "1", "name": {"en-GB": "First", "cy": "Cyntaf"}},
        {"id": "2", "name": "Second"},
        {"id": "3", "name": "Empty"},
    ).pages()
    assert [(page.name, [label for label, _ in page.rows]) for page in pages] == [
        ("Cyntaf", ["ONE"]),
        ("Second", ["TWO"]),
        ("", ["STRAY", "NONE", "new"]),
    ]


def test_placeholders_get_what_the_table_shows() -> None:
    """But nothing for what was not answered: a greeting should not say so."""
    given = answers([field(labeledValues=CHOICES), field("b")], {"a": "x", "b": None, "c": ["1", "2"]})
    assert given.by_field() == {"a": "Ecs", "b": "", "c": "1, 2"}


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ([field(), field("ref", dataFormat="reference")], "EF 1"),
        ([field()], None),
        ([field("unsent", dataFormat="reference")], None),
    ],
)
def test_the_reference_is_the_answer_of_that_format(fields: list[Any], reference: str | None) -> None:
    """A form has one field of the format `reference`, or none."""
    assert answers(fields, {"ref": "EF 1", "a": "b"}).reference() == reference
