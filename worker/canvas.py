"""The CMS's Canvas blocks -> plain text and HTML, for the bodies that a form's email rules bring along.

The set of blocks is closed; an unknown one is its content. HTML is never taken over: there are no elements but
the ones written here.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from markupsafe import Markup, escape
from pydantic import JsonValue

from worker.look import SEVERITIES
from worker.piece import NOTHING, Piece, classed, element, flow, inline, paragraph
from worker.placeholders import Placeholders
from worker.wording import Wording, clean, quoted

Block = dict[str, JsonValue]

MAX_DEPTH: Final = 32
MAX_HEADING_LEVEL: Final = 6
MAX_NUMBER: Final = 1_000_000  # of a list's first item
RULE_CHARACTERS: Final = 72

_SAFE_LINK: Final = re.compile(r"(?:https?://|mailto:|tel:)[^\s<>\"\\]+", re.IGNORECASE)
_DECORATORS: Final = {
    "abbreviation": "abbr",
    "code": "code",
    "delete": "del",
    "emphasis": "em",
    "insert": "ins",
    "keyboard": "kbd",
    "mark": "mark",
    "strong": "strong",
    "strikethrough": "s",
    "subscript": "sub",
    "superscript": "sup",
    "underline": "u",
    "variable": "var",
}


class Canvas:
    """Renders the blocks of one mail; `answers` makes what stands where a form response table is asked for."""

    def __init__(
        self, placeholders: Placeholders, wording: Wording, answers: Callable[[], Piece] = lambda: NOTHING
    ) -> None:
        self.placeholders = placeholders
        self.wording = wording
        self.answers = answers
        self.shows_answers = False

    def render(self, blocks: Sequence[Block]) -> Piece:
        """All blocks, one after another. Raises PermanentError (template) for Liquid that is not a variable."""
        return flow(self._piece(block, 0) for block in blocks)

    def _piece(self, block: JsonValue, depth: int) -> Piece:
        if not isinstance(block, dict) or depth > MAX_DEPTH:
            return NOTHING
        write = _WRITERS.get(str(block.get("type")), _unknown)
        return write(self, block, self._content(block.get("value"), depth))

    def _content(self, value: JsonValue, depth: int) -> list[Piece]:
        if isinstance(value, str):
            return [inline(value)]
        if isinstance(value, list):
            return [inline(item) if isinstance(item, str) else self._piece(item, depth + 1) for item in value]
        return []


Writer = Callable[[Canvas, Block, list[Piece]], Piece]


def _unknown(_canvas: Canvas, _block: Block, inside: list[Piece]) -> Piece:
    return flow(inside)


def _paragraph(_canvas: Canvas, _block: Block, inside: list[Piece]) -> Piece:
    return paragraph(flow(inside))


def _heading(_canvas: Canvas, block: Block, inside: list[Piece]) -> Piece:
    """A heading below the mail's own, which is the only `h1`."""
    content = flow(inside)
    level = min(max(_number(block, "level", 2), 2), MAX_HEADING_LEVEL)
    return Piece(_underlined(content.text.strip()), element(f"h{level}", content.html), block=True)


def _underlined(title: str) -> str:
    return f"{title}\n{'-' * min(len(title), RULE_CHARACTERS)}" if title else ""


def _list(_canvas: Canvas, block: Block, inside: list[Piece]) -> Piece:
    html = Markup().join(item.html for item in inside)
    if _text(block.get("properties"), "listType") != "ordered":
        return Piece("\n".join(_hanging("- ", item) for item in inside), element("ul", html), block=True)
    start = _number(block, "start", 1)
    items = [_hanging(f"{number}. ", item) for number, item in enumerate(inside, start)]
    return Piece("\n".join(items), element("ol", html, start=str(start)), block=True)


def _hanging(mark: str, item: Piece) -> str:
    return mark + item.text.replace("\n", "\n" + " " * len(mark))


def _within(tag: str, _canvas: Canvas, _block: Block, inside: list[Piece]) -> Piece:
    """A list item, or a table or a part of one."""
    content = flow(inside, gap="\n")
    return Piece(content.text, element(tag, content.html), block=True)


def _row(_canvas: Canvas, _block: Block, inside: list[Piece]) -> Piece:
    html = Markup().join(cell.html for cell in inside)
    return Piece(" | ".join(cell.text for cell in inside), element("tr", html), block=True)


def _fragment(_canvas: Canvas, block: Block, inside: list[Piece]) -> Piece:
    decorators = _decorators(block)
    if "linebreak" in decorators:
        return Piece("\n", Markup("<br>"))
    content = flow(inside)
    html = content.html
    for decorator in decorators:
        html = element(_DECORATORS[decorator], html)
    return Piece(content.text, html, content.block)


def _decorators(block: Block) -> list[str]:
    names = _properties(block).get("decorators")
    if not isinstance(names, list):
        return []
    known = {*_DECORATORS, "linebreak"}
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name in known))


def _link(_canvas: Canvas, block: Block, inside: list[Piece]) -> Piece:
    return _linked(flow(inside), _properties(block).get("link"))


def _linked(content: Piece, target: JsonValue) -> Piece:
    """`content` as a link; the CMS's convention for plain text is `text (href)`."""
    href = _uri(target)
    if not href:
        return content
    text = f"{content.text} ({href})" if content.text not in ("", href) else href
    return Piece(text, element("a", content.html or escape(href), href=href), content.block)


def _uri(target: JsonValue) -> str:
    """Where a link, entry or asset points to, if a mail may hold that address; else nothing."""
    uri = _text(target.get("sys"), "uri") if isinstance(target, dict) else ""
    return uri if uri.isprintable() and _SAFE_LINK.fullmatch(uri) else ""


def _reference(_canvas: Canvas, block: Block, _inside: list[Piece]) -> Piece:
    """An entry or asset, by its title."""
    value = block.get("value")
    return _linked(inline(_text(value, "entryTitle")), value)


def _image(_canvas: Canvas, block: Block, _inside: list[Piece]) -> Piece:
    """An image as its description: mails load nothing from elsewhere."""
    value = block.get("value")
    asset = value.get("asset") if isinstance(value, dict) else None
    texts = (
        _text(value, "altText"),
        _text(asset, "altText"),
        _text(value, "caption"),
        _text(asset, "entryTitle"),
    )
    described = _linked(inline(next(filter(None, texts), "")), asset)
    return paragraph(described) if described.text else NOTHING


def _code(_canvas: Canvas, block: Block, _inside: list[Piece]) -> Piece:
    code = clean(_text(block.get("value"), "code"))
    return Piece(code, element("pre", escape(code)), block=True)


def _quote(_canvas: Canvas, block: Block, inside: list[Piece]) -> Piece:
    properties = block.get("properties")
    source = _text(properties, "source") or _text(properties, "citation")
    content = flow([*inside, inline(f"\n— {source}")] if source else inside)
    return Piece(quoted(content.text), element("blockquote", content.html), block=True)


def _panel(canvas: Canvas, block: Block, inside: list[Piece]) -> Piece:
    """A panel says its severity as a word and a colour."""
    content = flow(inside)
    kind = _text(block.get("properties"), "panelType")
    if kind not in SEVERITIES:
        return paragraph(content)
    word = canvas.wording.say({}, f"severity.{kind}")
    html = element("strong", escape(word)) + Markup("<br>") + content.html
    return Piece(f"{word}: {content.text}", classed("div", html, f"panel {kind}"), block=True)


def _divider(_canvas: Canvas, _block: Block, _inside: list[Piece]) -> Piece:
    return Piece("-" * RULE_CHARACTERS, classed("div", Markup(), "divider"), block=True)


def _liquid(canvas: Canvas, _block: Block, inside: list[Piece]) -> Piece:
    return inline(canvas.placeholders.fill(flow(inside).text))


def _answers(canvas: Canvas, _block: Block, _inside: list[Piece]) -> Piece:
    """The form response table, once a mail."""
    if canvas.shows_answers:
        return NOTHING
    canvas.shows_answers = True
    return canvas.answers()


_WRITERS: Final[dict[str, Writer]] = {
    "_paragraph": _paragraph,
    "_heading": _heading,
    "_list": _list,
    "_listItem": partial(_within, "li"),
    "_table": partial(_within, "table"),
    "_tableHeader": partial(_within, "thead"),
    "_tableBody": partial(_within, "tbody"),
    "_tableFooter": partial(_within, "tfoot"),
    "_tableCaption": partial(_within, "caption"),
    "_tableRow": _row,
    "_tableCell": partial(_within, "td"),
    "_tableHeaderCell": partial(_within, "th"),
    "_fragment": _fragment,
    "_link": _link,
    "_entry": _reference,
    "_asset": _reference,
    "_inlineEntry": _reference,
    "_image": _image,
    "_code": _code,
    "_quote": _quote,
    "_panel": _panel,
    "_divider": _divider,
    "_liquid": _liquid,
    "_formContentType": _answers,
}
"""Blocks by type; whatever else a body holds is rendered as its content."""


def _properties(block: Block) -> Block:
    properties = block.get("properties")
    return properties if isinstance(properties, dict) else {}


def _text(holder: JsonValue, key: str) -> str:
    text = holder.get(key) if isinstance(holder, dict) else None
    return text if isinstance(text, str) else ""


def _number(block: Block, key: str, default: int) -> int:
    number = _properties(block).get(key)
    return number if isinstance(number, int) and 0 <= number <= MAX_NUMBER else default
