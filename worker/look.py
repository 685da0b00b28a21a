"""How mails look: one style sheet, put on the elements as `style` attributes, since mail programs drop sheets.

Templates get their styles once, when they are read. What else becomes a mail's HTML, such as the text that a
form's rule brings along, is made of this program's own elements, and gets theirs from a table.
"""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import zip_longest
from typing import Final

from css_inline import CSSInliner
from markupsafe import Markup

SEVERITIES: Final = ("info", "note", "success", "warning", "error")

_CODE: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_CODE_BEGINS: Final = re.compile(r"\{[{%#][-+]?")
_STAND_IN: Final = re.compile(r"(?:<|&lt;)!--code (\d+)--(?:>|&gt;)")
_TAG: Final = re.compile(r"</?[a-z][a-z0-9]*", re.IGNORECASE)
_BARE_TAG: Final = re.compile(r'<([a-z][a-z0-9]*(?: class="[a-z ]+")?)(?=[ >])(?![^<>]* style=)')
_CELLS: Final = "<table><caption></caption><tbody><tr><th></th><td></td></tr></tbody></table>"


class ElementsError(ValueError):
    """HTML has the elements of a template otherwise; `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(
            f"HTML does not have {what} here: close each element in the branch that opens it, and write what "
            "HTML would add, such as <tbody>"
        )
        self.line = line


class Look:
    """A style sheet, ready to be put on elements."""

    def __init__(self, sheet: str) -> None:
        self._inliner = CSSInliner(
            extra_css=sheet,
            inline_style_tags=False,
            keep_style_tags=True,
            load_remote_stylesheets=False,
            minify_css=True,
        )
        self._styles = _Styles(self._inlined(_own_elements())).by_tag

    def inlined(self, template: str) -> str:
        """The HTML template with its styles; the code in it stays as it is, and on its lines.

        Raises ElementsError for elements that a parser adds, closes, moves or drops.
        """
        if not _TAG.search(template):
            return template
        numbers = iter(range(len(template)))
        styled = self._inlined(_CODE.sub(lambda _: f"<!--code {next(numbers)}-->", template))
        _refuse_other_elements(template, styled)
        return "".join(_with_code(styled, template))

    def dressed(self, html: Markup) -> Markup:
        """HTML of this program's own elements, all text in it escaped, with their styles."""
        return Markup(_BARE_TAG.sub(self._dressed_tag, html))  # noqa: S704 - only styles are added

    def _dressed_tag(self, tag: re.Match[str]) -> str:
        style = self._styles.get(tag[1])
        return f'{tag[0]} style="{style}"' if style else tag[0]

    def _inlined(self, html: str) -> str:
        return self._inliner.inline(html) if "<html" in html else self._inliner.inline_fragment(html, "")


def _with_code(styled: str, template: str) -> Iterator[str]:
    """`styled`, its code again where it was.

    Line breaks that the HTML parser took are made up for inside the code, where they mean nothing, so that
    errors name the template's own lines.
    """
    code = [*_CODE.finditer(template)]
    breaks = 0
    for place, part in enumerate(_STAND_IN.split(styled)):
        piece = _put_off(code[int(part)], breaks) if place % 2 else part
        breaks += piece.count("\n")
        yield piece


def _put_off(code: re.Match[str], breaks: int) -> str:
    """The code, with as many line breaks after its beginning as are missing before it."""
    missing = "\n" * (code.string.count("\n", 0, code.start()) - breaks)
    return _CODE_BEGINS.sub(lambda begin: begin[0] + missing, code[0], count=1)


def _refuse_other_elements(template: str, styled: str) -> None:
    """What parsing has changed would break the template's branches."""
    blanked = _CODE.sub(lambda code: "\n" * code[0].count("\n"), template)
    for tag, read in zip_longest(_TAG.finditer(blanked), _TAG.finditer(styled)):
        if tag is None or read is None or tag[0].lower() != read[0].lower():
            line = blanked.count("\n", 0, tag.start() if tag else len(blanked)) + 1
            raise ElementsError(line, f"{tag[0]}>" if tag else "the end")


def _own_elements() -> str:
    """Every element with a look that is not a template's, where the sheet's selectors find it."""
    plain = "".join(
        f"<{tag}></{tag}>"
        for tag in ("p", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "a")
    )
    panels = "".join(f'<div class="panel {severity}"></div>' for severity in SEVERITIES)
    badges = "".join(f'<strong class="badge {severity}"></strong>' for severity in SEVERITIES)
    return f'<div class="written">{plain}{_CELLS}<div class="divider"></div>{panels}{badges}</div>'


class _Styles(HTMLParser):
    """Reads the styles of elements: `p` or `div class="panel info"` -> its style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.by_tag: dict[str, str] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes the style of an element."""
        names = dict(attrs)
        key = f'{tag} class="{names["class"]}"' if "class" in names else tag
        self.by_tag[key] = names.get("style") or ""
