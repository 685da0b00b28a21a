"""Canvas blocks as text and HTML: a closed set, everything escaped."""

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from contracts.dead_letter import Reason
from worker.canvas import Canvas
from worker.errors import PermanentError
from worker.piece import Piece, plain
from worker.placeholders import Placeholders
from worker.stationery import bundled

ANSWERS = {"name": "Wyn <b>ap</b> Llŷr", "enquiry": "Un\nDau"}
TABLE = Piece("Enw: Wyn", Markup("<table><tr><td>Wyn</td></tr></table>"), block=True)
ELEMENTS = """a abbr blockquote br caption code del div em h2 h3 h4 h5 h6 ins kbd li mark ol p pre s strong sub
sup table tbody td tfoot th thead tr u ul var"""
ATTRIBUTES = frozenset({"class", "href", "start"})


def canvas() -> Canvas:
    """A canvas with the answers above, for an English reader."""
    placeholders = Placeholders(ANSWERS, "data.emails[0]")
    return Canvas(placeholders, bundled().wordings["en-GB"], lambda: TABLE)


def rendered(*blocks: Any) -> Piece:
    """The blocks, rendered."""
    return canvas().render(blocks)


def block(kind: str, value: Any = None, **properties: Any) -> dict[str, Any]:
    """A block as the CMS writes it."""
    return {"id": "1", "type": f"_{kind}", "value": value, "properties": properties}


def link(uri: str, text: str = "here") -> dict[str, Any]:
    """A link block."""
    return block("link", text, link={"sys": {"uri": uri, "linkProperties": {"type": "uri"}}})


def cells(*texts: str, kind: str = "tableCell") -> dict[str, Any]:
    """A row of a table."""
    return block("tableRow", [block(kind, text) for text in texts])


@pytest.mark.parametrize(
    ("given_block", "text", "html"),
    [
        pytest.param(block("paragraph", "Hello"), "Hello", "<p>Hello</p>", id="paragraph"),
        pytest.param(
            block("paragraph", [block("fragment", "a "), block("fragment", "b", decorators=["strong"])]),
            "a b",
            "<p>a <strong>b</strong></p>",
            id="fragments",
        ),
        pytest.param(
            block("fragment", "x", decorators=["emphasis", "code", "emphasis", "marquee", 7]),
            "x",
            "<code><em>x</em></code>",
            id="decorators-known-and-once",
        ),
        pytest.param(
            block("paragraph", ["a", block("fragment", None, decorators=["linebreak"]), "b"]),
            "a\nb",
            "<p>a<br>b</p>",
            id="line-break",
        ),
        pytest.param(block("heading", "Title", level=1), "Title\n-----", "<h2>Title</h2>", id="heading-1"),
        pytest.param(block("heading", "T", level=4), "T\n-", "<h4>T</h4>", id="heading-4"),
        pytest.param(block("heading", "T", level=99), "T\n-", "<h6>T</h6>", id="heading-99"),
        pytest.param(block("heading", "T", level="x"), "T\n-", "<h2>T</h2>", id="heading-of-no-level"),
        pytest.param(block("heading", ""), "", "<h2></h2>", id="heading-empty"),
        pytest.param(
            block("list", [block("listItem", "a"), block("listItem", "b")]),
            "- a\n- b",
            "<ul><li>a</li><li>b</li></ul>",
            id="list",
        ),
        pytest.param(
            block(
                "list",
                [block("listItem", "a"), block("listItem", ["b", block("list", [block("listItem", "c")])])],
                listType="ordered",
                start=9,
            ),
            "9. a\n10. b\n    - c",
            '<ol start="9"><li>a</li><li>b<ul><li>c</li></ul></li></ol>',
            id="list-ordered-and-nested",
        ),
        pytest.param(
            block("list", [block("listItem", "a")], listType="ordered", start=10**30),
            "1. a",
            '<ol start="1"><li>a</li></ol>',
            id="list-from-nowhere",
        ),
        pytest.param(
            block(
                "table",
                [
                    block("tableCaption", "Caption"),
                    block("tableHeader", [cells("A", "B", kind="tableHeaderCell")]),
                    block("tableBody", [cells("1", "2"), cells("3", "4")]),
                    block("tableFooter", [cells("5", "6")]),
                ],
            ),
            "Caption\nA | B\n1 | 2\n3 | 4\n5 | 6",
            "<table><caption>Caption</caption><thead><tr><th>A</th><th>B</th></tr></thead>"
            "<tbody><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></tbody>"
            "<tfoot><tr><td>5</td><td>6</td></tr></tfoot></table>",
            id="table",
        ),
        pytest.param(
            link("https://x.example/?a=1&b=2"),
            "here (https://x.example/?a=1&b=2)",
            '<a href="https://x.example/?a=1&amp;b=2">here</a>',
            id="link",
        ),
        pytest.param(
            link("https://x.example", "https://x.example"),
            "https://x.example",
            '<a href="https://x.example">https://x.example</a>',
            id="link-that-is-its-own-text",
        ),
        pytest.param(
            link("https://x.example", ""),
            "https://x.example",
            '<a href="https://x.example">https://x.example</a>',
            id="link-without-text",
        ),
        pytest.param(
            block("panel", "Mind", panelType="warning"),
            "Warning: Mind",
            '<div class="panel warning"><strong>Warning</strong><br>Mind</div>',
            id="panel",
        ),
        pytest.param(block("panel", "Mind", panelType="x"), "Mind", "<p>Mind</p>", id="panel-of-no-kind"),
        pytest.param(
            block("quote", "a", source="Siân"),
            "> a\n> — Siân",
            "<blockquote>a<br>— Siân</blockquote>",
            id="quote",
        ),
        pytest.param(block("divider"), "-" * 72, '<div class="divider"></div>', id="divider"),
        pytest.param(
            block("code", {"code": "<b>\n  x", "language": "html"}),
            "<b>\n  x",
            "<pre>&lt;b&gt;\n  x</pre>",
            id="code",
        ),
        pytest.param(
            block("image", {"altText": "A cat", "asset": {"sys": {"uri": "https://x.example/c.png"}}}),
            "A cat (https://x.example/c.png)",
            '<p><a href="https://x.example/c.png">A cat</a></p>',
            id="image",
        ),
        pytest.param(
            block("image", {"asset": {"sys": {"uri": "/c.png"}, "entryTitle": "Cat"}}),
            "Cat",
            "<p>Cat</p>",
            id="image-within-the-site",
        ),
        pytest.param(block("image", {"asset": {}}), "", "", id="image-undescribed"),
        pytest.param(
            block("inlineEntry", {"entryTitle": "News", "sys": {"uri": "https://x.example/n"}}),
            "News (https://x.example/n)",
            '<a href="https://x.example/n">News</a>',
            id="entry",
        ),
        pytest.param(block("asset", {"entryTitle": "Plan"}), "Plan", "Plan", id="asset"),
        pytest.param(block("anchor", "place"), "place", "place", id="anchor"),
        pytest.param(
            block("liquid", "{{ name }}", type="variable"),
            "Wyn <b>ap</b> Llŷr",
            "Wyn &lt;b&gt;ap&lt;/b&gt; Llŷr",
            id="variable",
        ),
        pytest.param(block("liquid", "{{ enquiry }}"), "Un\nDau", "Un<br>Dau", id="variable-of-two-lines"),
        pytest.param(block("paragraph", "{{ name }}"), "{{ name }}", "<p>{{ name }}</p>", id="braces-in-text"),
        pytest.param(
            block("formContentType", {"contentType": {"id": "enquiry"}}),
            TABLE.text,
            str(TABLE.html),
            id="form-response-table",
        ),
        pytest.param(block("component", {"title": "x"}, component="banner"), "", "", id="component"),
        pytest.param(block("nonesuch", "<i>text</i>"), "<i>text</i>", "&lt;i&gt;text&lt;/i&gt;", id="unknown"),
        pytest.param(
            block("nonesuch", [block("paragraph", "a")]), "a", "<p>a</p>", id="unknown-with-blocks-inside"
        ),
        pytest.param({"value": "a"}, "a", "a", id="no-type"),
        pytest.param({"type": ["_paragraph"], "value": "a", "properties": 7}, "a", "a", id="odd-type"),
        pytest.param({}, "", "", id="nothing"),
        pytest.param(block("paragraph", 7), "", "<p></p>", id="a-number-for-content"),
    ],
)
def test_a_block_is_said_twice(given_block: dict[str, Any], text: str, html: str) -> None:
    """As plain text by the CMS's convention, and as HTML."""
    piece = rendered(given_block)
    assert (piece.text, piece.html) == (text, html)


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "file:///etc/passwd",
        "//x.example",
        "/about",
        "#top",
        "https://x.example/\n",
        "https://x.example/\x01",
        'https://x.example/" onclick="x',
        "https:x",
        "",
        None,
        7,
        ["https://x.example"],
    ],
)
def test_other_links_are_only_their_text(uri: Any) -> None:
    """A mail links to http, https, mailto and tel, and the site's own paths lead nowhere from a mail."""
    assert rendered(link(uri)) == Piece("here", Markup("here"))


@pytest.mark.parametrize("uri", ["http://x.example", "HTTPS://x.example", "mailto:a@b.example", "tel:+441234"])
def test_a_mail_links_to_the_web_to_mail_and_to_phones(uri: str) -> None:
    """These four schemes."""
    assert rendered(link(uri)).html == f'<a href="{uri}">here</a>'


def test_blocks_are_parted_by_a_blank_line() -> None:
    """In the text; inline content next to each other is not."""
    piece = rendered(block("paragraph", "a"), block("fragment", "b"), block("fragment", "c"), block("code", {}))
    assert piece.text == "a\n\nbc"


def test_the_form_response_table_comes_once() -> None:
    """However often a body asks for it."""
    page = canvas()
    piece = page.render([block("formContentType")] * 3)
    assert piece.text == TABLE.text
    assert page.shows_answers


def test_a_liquid_tag_is_refused() -> None:
    """Half a condition would say the wrong thing; the mail becomes a dead letter that says why."""
    with pytest.raises(PermanentError) as caught:
        rendered(block("paragraph", [block("liquid", "{% if name %}", type="tag")]))
    assert caught.value.reason is Reason.TEMPLATE


def test_depth_is_bounded() -> None:
    """What lies too deep is left out."""
    deep: Any = "bottom"
    for _ in range(500):
        deep = [block("quote", deep)]
    assert "bottom" not in rendered(*deep).text


@pytest.mark.parametrize(
    ("body", "text", "html"),
    [
        pytest.param("a\nb\n\n c \n\n\n\nd\n", "a\nb\n\nc\n\nd", "<p>a<br>b</p><p> c </p><p>d</p>", id="lines"),
        pytest.param(
            "<script>x</script>", "<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>", id="html"
        ),
        pytest.param("a\r\n\r\nb\0", "a\n\nb", "<p>a</p><p>b</p>", id="line-ends-and-nul"),
    ],
)
def test_plain_text_is_paragraphs(body: str, text: str, html: str) -> None:
    """Blank lines part them, line ends within stay."""
    piece = plain(body)
    assert (piece.text, piece.html) == (text, html)


NAMES = """_paragraph _heading _list _listItem _table _tableHeader _tableBody _tableFooter _tableRow _tableCell
_tableHeaderCell _tableCaption _link _fragment _liquid _panel _quote _divider _code _image _anchor _entry _asset
_inlineEntry _component _formContentType script"""
TYPES = st.sampled_from(NAMES.split())
TEXTS = st.text(st.sampled_from("ab<>&\"'\0\n\r \u202eŷ\ud800:/")) | st.sampled_from(
    ["<script>alert(1)</script>", "javascript:alert(1)", "https://x.example/<b>", "ordered", "error", "strong"]
)
LEAVES = TEXTS | st.integers() | st.booleans() | st.none() | st.floats()
PROPERTIES = "sys uri link level start listType decorators panelType source code asset altText"
KEYS = st.sampled_from(PROPERTIES.split())
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.fixed_dictionaries({"type": TYPES, "value": inner, "properties": st.dictionaries(KEYS, inner)})
    ),
    max_leaves=20,
)
BLOCKS = st.lists(st.fixed_dictionaries({"type": TYPES, "value": VALUES, "properties": VALUES}), max_size=5)


class Checker(HTMLParser):
    """Fails on elements, attributes and links that are not ours, and on unbalanced tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Only what the canvas writes."""
        assert tag in ELEMENTS.split()
        assert {name for name, _ in attrs} <= ATTRIBUTES
        assert all((value or "").startswith(("https:", "http:")) for name, value in attrs if name == "href")
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """The innermost."""
        assert self.open.pop() == tag


@given(BLOCKS)
@settings(max_examples=300, deadline=None)
def test_no_body_breaks_out(blocks: list[dict[str, Any]]) -> None:
    """Whatever an event holds, the HTML is made of our elements, and both forms can be sent."""
    try:
        piece = rendered(*blocks)
    except PermanentError as refusal:
        reason = refusal.reason
    else:
        reason = Reason.TEMPLATE
        check(piece)
    assert reason is Reason.TEMPLATE


def check(piece: Piece) -> None:
    """Fails on what no canvas may come to."""
    checker = Checker()
    checker.feed(piece.html)
    checker.close()
    assert checker.open == []
    assert not {"\0", "\r"} & set(piece.text + piece.html)
    (piece.text + piece.html).encode()
