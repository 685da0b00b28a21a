"""A part of a mail's body, said twice: as plain text and as HTML, into which all text goes escaped."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from worker.wording import clean

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
    """`html` in an element of ours. Its looks are not its own: `Look.dressed` sees to them."""
    opening = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return Markup(f"<{tag}{opening}>{html}</{tag}>")  # noqa: S704 - all parts are ours or escaped


def classed(tag: str, html: Markup, kind: str) -> Markup:
    """`html` in an element that the style sheet knows by its class, or classes."""
    return element(tag, html, **{"class": kind})
