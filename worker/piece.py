"""A part of a mail's body, said twice: as plain text and as HTML, into which all text goes escaped."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from worker.wording import clean

PARAGRAPH: Final = "margin:0 0 16px"
_SMALL_HEADING: Final = "margin:20px 0 8px;font-size:16px;line-height:24px"
_CELL: Final = "padding:6px 12px 6px 0;border-bottom:1px solid #d3d9e0;text-align:start;vertical-align:top"
_STYLES: Final = {
    "p": PARAGRAPH,
    "ul": PARAGRAPH,
    "ol": PARAGRAPH,
    "h2": "margin:24px 0 8px;font-size:20px;line-height:28px",
    "h3": "margin:20px 0 8px;font-size:18px;line-height:26px",
    "h4": _SMALL_HEADING,
    "h5": _SMALL_HEADING,
    "h6": _SMALL_HEADING,
    "blockquote": "margin:0 0 16px;padding:0 16px;border-inline-start:4px solid #8a94a6",
    "pre": "margin:0 0 16px;white-space:pre-wrap;font-family:Consolas,Menlo,monospace",
    "table": "margin:0 0 16px;width:100%;border-collapse:collapse",
    "caption": "padding:0 0 6px;text-align:start;font-weight:bold",
    "td": _CELL,
    "th": _CELL,
}
_BLANK_LINES: Final = re.compile(r"\n(?:[ \t]*\n)+")


@dataclass(frozen=True, slots=True)
class Piece:
    """The two forms of one thing; a block stands on lines of its own."""

    text: str
    html: Markup
    block: bool = False


NOTHING: Final = Piece("", Markup())


def inline(text: str) -> Piece:
    """Text within a line; line breaks of its own are kept."""
    said = clean(text)
    return Piece(said, Markup("<br>").join(said.split("\n")))


def plain(text: str) -> Piece:
    """Text as paragraphs, parted by blank lines; line breaks within them are kept."""
    return flow([paragraph(inline(part)) for part in _BLANK_LINES.split(clean(text).strip())])


def paragraph(content: Piece) -> Piece:
    """`content` as a paragraph."""
    return Piece(content.text.strip(), element("p", content.html), block=True)


def flow(pieces: Iterable[Piece], gap: str = "\n\n") -> Piece:
    """The pieces in a row; `gap` parts a block from its neighbours in the text."""
    pieces = tuple(pieces)
    texts: list[str] = []
    after_block = False
    for piece in filter(lambda piece: piece.text, pieces):
        if texts and (piece.block or after_block):
            texts.append(gap)
        texts.append(piece.text)
        after_block = piece.block
    html = Markup().join([piece.html for piece in pieces])
    return Piece("".join(texts), html, block=any(piece.block for piece in pieces))


def element(tag: str, html: Markup, **attributes: str) -> Markup:
    """`html` in an element of ours, with the style it has in mails unless another is given."""
    if tag in _STYLES:
        attributes = {"style": _STYLES[tag], **attributes}
    opening = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{opening}>{html}</{tag}>")  # noqa: S704 - all parts are ours or escaped
