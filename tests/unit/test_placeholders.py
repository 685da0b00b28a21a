"""Liquid variables: filled in, and nothing else of Liquid."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.dead_letter import Reason
from worker.errors import PermanentError
from worker.placeholders import MAX_OUTPUT_CHARACTERS, Placeholders

ANSWERS = {
    "name": "Wyn ap Llŷr",
    "unanswered": "",
    "markup": "<b>{{ name }}</b> {% raw %}",
    "cyfeiriad-1": "Bro Ddu",
}


def filled(source: str, values: dict[str, str] = ANSWERS) -> str:
    """`source` with the answers above."""
    return Placeholders(values, "data.emails[1]").fill(source)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        pytest.param("Annwyl {{ name }},", "Annwyl Wyn ap Llŷr,", id="variable"),
        pytest.param("{{name}}{{  name  }}{{-name-}}", "Wyn ap Llŷr" * 3, id="spacing"),
        pytest.param("[{{ nobody }}]", "[]", id="unknown-is-empty"),
        pytest.param("[{{ name.first.second }}{{ nobody.x[0] }}]", "[]", id="unknown-path-is-empty"),
        pytest.param("[{{ unanswered }}]", "[]", id="unanswered-is-empty"),
        pytest.param("{{ unanswered | default: 'ffrind' }}", "ffrind", id="default"),
        pytest.param("{{ name | upcase }}", "WYN AP LLŶR", id="filter"),
        pytest.param("{{ cyfeiriad-1 }} {{ ['name'] }}", "Bro Ddu Wyn ap Llŷr", id="other-spellings"),
        pytest.param("{{ markup }}", "<b>{{ name }}</b> {% raw %}", id="an-answer-is-no-template"),
        pytest.param("a { b } c } %} }}", "a { b } c } %} }}", id="single-braces"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_variable_is_what_was_answered(source: str, text: str) -> None:
    """As plain text; who puts it into HTML escapes it."""
    assert filled(source) == text


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("{% for i in (1..1000000000) %}x{% endfor %}", id="loop"),
        pytest.param("{% include 'secrets' %}", id="include"),
        pytest.param("{% if name %}x{% endif %}", id="condition"),
        pytest.param("{% raw %}{{ name }}{% endraw %}", id="raw"),
        pytest.param("{{ name", id="unclosed"),
        pytest.param("{{ }}", id="nothing"),
        pytest.param("{{ name | }}", id="broken-filter"),
        pytest.param("{{ name | nonesuch }}", id="unknown-filter"),
        pytest.param("{{ name | append: name }}", id="filter-not-offered"),
        pytest.param("{{ name if name else name }}", id="ternary"),
        pytest.param("{{ " + "[" * 150 + " }}", id="nested"),
        pytest.param("{{ " + "a" * 201 + " }}", id="long"),
        pytest.param("{{ name[" + "9" * 180 + "] | truncate: 'x' }}", id="numbers"),
        pytest.param("{{" + " " * 100_000, id="quadratic-blanks"),
        pytest.param("{{ " * 50_000, id="quadratic-openings"),
        pytest.param("{% raw %}" * 50_000, id="quadratic-raw"),
    ],
)
def test_other_liquid_is_refused_at_once(source: str) -> None:
    """A template error that names the rule, and nothing of what it holds; no text keeps the worker busy."""
    begun = time.process_time()
    with pytest.raises(PermanentError) as caught:
        filled(source)
    assert time.process_time() - begun < 1
    assert caught.value.reason is Reason.TEMPLATE
    assert caught.value.detail.startswith("data.emails[1]: ")
    assert "name" not in caught.value.detail
    assert caught.value.settings == ()


def test_ranges_are_never_unrolled() -> None:
    """Liquid writes a range as its ends."""
    assert filled("{{ (1..999999999) }}") == "1..999999999"


def test_what_is_filled_in_is_bounded() -> None:
    """A short text with many variables cannot become a huge mail; the bound is for all texts of one mail."""
    placeholders = Placeholders({"a": "x" * (MAX_OUTPUT_CHARACTERS // 2)}, "data.emails[0]")
    placeholders.fill("{{ a }}")
    placeholders.fill("{{ a }}")
    with pytest.raises(PermanentError, match="1048576 characters"):
        placeholders.fill("{{ a }}")


def reason_of_refusal(source: str) -> Reason | None:
    """Why `source` is refused, if it is."""
    try:
        filled(source)
    except PermanentError as refusal:
        return refusal.reason
    return None


@given(st.text(st.sampled_from("{}%-|:.[]()'\" \n\0aname19,=<>!?#ŷ\ud800")))
@settings(max_examples=300, deadline=None)
def test_no_text_raises_anything_else(source: str) -> None:
    """Whatever a rule holds, it is filled in or it is a template error."""
    assert reason_of_refusal(source) in (None, Reason.TEMPLATE)


@given(st.text(st.sampled_from("|:.[]()'\" \n\0aname19,=<>!?#-ŷ\ud800"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_statement_raises_anything_else(statement: str) -> None:
    """The same within the braces."""
    assert reason_of_refusal("{{" + statement + "}}") in (None, Reason.TEMPLATE)
