"""The style sheet on templates and on this program's own elements."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup, escape

from tests.support.examples import FORM, event_of, example
from worker.look import SEVERITIES, ElementsError, Look
from worker.render import Renderer
from worker.stationery import Stationery, bundled
from worker.template_files import BUNDLED, STYLE_SHEET, read

SHEET = """
p { margin: 0 }
.card p { margin: 0 0 8px }
.loud { color: #111111; mso-hide: all }
.written p { color: #222222 }
.written .panel.error { color: #333333 }
@media (max-width: 480px) { p { margin: 9px } }
"""
LOOK = Look(SHEET)


def own(html: str) -> Markup:
    """HTML as this program writes it."""
    return Markup(html)  # noqa: S704 - written in these tests


@pytest.mark.parametrize(
    ("template", "styled"),
    [
        pytest.param("<p>a</p>", '<p style="margin:0">a</p>', id="element"),
        pytest.param(
            '<p class="loud">a</p>',
            '<p class="loud" style="margin:0;color:#111111;mso-hide:all">a</p>',
            id="class",
        ),
        pytest.param(
            '<div class="card"><p>a</p></div>',
            '<div class="card"><p style="margin:0 0 8px">a</p></div>',
            id="inside-another",
        ),
        pytest.param('<p style="margin:1px">a</p>', '<p style="margin:1px">a</p>', id="its-own-style-wins"),
        pytest.param("<p>{{ a }}{# b #}</p>", '<p style="margin:0">{{ a }}{# b #}</p>', id="code-in-text"),
        pytest.param(
            '<p title="{{ a }}"></p>', '<p title="{{ a }}" style="margin:0"></p>', id="code-in-attribute"
        ),
        pytest.param("<title>{{ a > b }}</title>", "<title>{{ a > b }}</title>", id="code-in-a-title"),
        pytest.param(
            "<table>{% for a in b %}<tbody><tr><td>{{ a }}</td></tr></tbody>{% endfor %}</table>",
            "<table>{% for a in b %}<tbody><tr><td>{{ a }}</td></tr></tbody>{% endfor %}</table>",
            id="code-between-rows",
        ),
        pytest.param("&nbsp;&lt;<br>", "&nbsp;&lt;<br>", id="entities"),
        pytest.param(
            "<!--[if mso]><table><![endif]-->", "<!--[if mso]><table><![endif]-->", id="for-outlook-only"
        ),
        pytest.param("{% set a = 1 %}\n", "{% set a = 1 %}\n", id="no-element"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_template_has_its_styles_on_its_elements(template: str, styled: str) -> None:
    """Mail programs drop style sheets; the code of a template is left as it is."""
    assert LOOK.inlined(template) == styled


def test_a_whole_document_keeps_what_depends_on_the_screen() -> None:
    """Its own <style>, for the programs that read it; the sheet itself is not sent."""
    head = "<head><style>@media (prefers-color-scheme: dark) { p { color: #eeeeee } }</style></head>"
    styled = LOOK.inlined(f"<!doctype html>\n<html>{head}<body><p></p></body></html>")
    assert styled == f'<!DOCTYPE html><html>{head}<body><p style="margin:0"></p></body></html>'


@pytest.mark.parametrize(
    ("template", "line", "what"),
    [
        pytest.param("\n<p>", 2, "the end", id="never-closed"),
        pytest.param("<table>\n{% if a %}<tr></tr>{% endif %}</table>", 2, "<tr>", id="rows-without-tbody"),
        pytest.param("{% if a %}\n<b>{% else %}<i>{% endif %}</b>", 2, "</b>", id="closed-in-another-branch"),
        pytest.param("{#\n\n#}<tr></tr>", 3, "<tr>", id="a-row-without-a-table"),
        pytest.param("<p>\n<div></div></p>", 2, "<div>", id="a-block-in-a-paragraph"),
    ],
)
def test_elements_that_html_has_differently_are_named(template: str, line: int, what: str) -> None:
    """Parsing would close or move them, and a branch of the template would be broken HTML."""
    with pytest.raises(ElementsError, match=rf"^HTML does not have {what} here: ") as caught:
        LOOK.inlined(template)
    assert caught.value.line == line


def test_code_stays_on_its_lines() -> None:
    """HTML drops some line breaks; errors name the line that the author sees."""
    start, end = "<!doctype html>\n<html\n lang='x'>\n<head>\n</head>\n<body>\n\n", "</body></html>"
    template = start + "{{ a }}\n{%- if b %}{% endif -%}\n" + end
    styled = LOOK.inlined(template)
    assert [place_of(part, styled) for part in ("a }}", "if b", "endif")] == [8, 9, 9]
    assert place_of("a }}", template) == 8


def place_of(part: str, text: str) -> int:
    """The line that `part` is on."""
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize(
    ("html", "dressed"),
    [
        pytest.param("<p>a</p>", '<p style="margin:0;color:#222222">a</p>', id="element"),
        pytest.param("<ul><li>a</li></ul>", "<ul><li>a</li></ul>", id="without-a-look"),
        pytest.param('<a href="https://x.example">a</a>', '<a href="https://x.example">a</a>', id="attributes"),
        pytest.param(
            '<div class="panel error"></div>',
            '<div class="panel error" style="color:#333333"></div>',
            id="class",
        ),
        pytest.param(
            '<p class="b" style="margin:1px"></p>', '<p class="b" style="margin:1px"></p>', id="dressed"
        ),
        pytest.param(
            '<p id="b" style="margin:1px"></p>', '<p id="b" style="margin:1px"></p>', id="dressed-too"
        ),
        pytest.param("&lt;p&gt; <br>", "&lt;p&gt; <br>", id="text"),
    ],
)
def test_own_elements_get_their_styles_once(html: str, dressed: str) -> None:
    """By a table, since they are made for each mail."""
    assert LOOK.dressed(own(html)) == dressed
    assert LOOK.dressed(own(dressed)) == dressed


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_text_is_never_dressed(text: str) -> None:
    """However much it looks like an element."""
    assert LOOK.dressed(escape(text)) == escape(text)


@pytest.mark.parametrize("opening", ['strong class="badge', 'div class="panel'])
def test_every_severity_has_a_look_of_its_own(opening: str) -> None:
    """A colour beside the word."""
    styles = {
        bundled().look.dressed(own(f'<{opening} {severity}">')).partition("style=")[2]
        for severity in SEVERITIES
    }
    assert len(styles - {""}) == len(SEVERITIES)


def test_a_look_of_ones_own_reaches_every_mail(tmp_path: Path) -> None:
    """One file is the brand: templates, answers, and what a rule brings along."""
    (tmp_path / "_base").mkdir()
    sheet = (BUNDLED / STYLE_SHEET).read_text("utf-8")
    (tmp_path / STYLE_SHEET).write_text(
        sheet + "h1, .facts th, .written p { color: #c0ffee }", encoding="utf-8"
    )
    document = example(FORM)
    document["data"]["emails"][0]["body"] = "Text"
    event = event_of(document)
    renderer = Renderer(default_sender=None, stationery=Stationery(read(tmp_path)))
    html = renderer.render(event, renderer.addressees(event)[0]).letter.html
    assert html.count("#c0ffee") == 2 + html.count("<th ")
