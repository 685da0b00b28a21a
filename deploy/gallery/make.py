"""`make gallery`: every mail in headless Chromium, on a phone and a desktop, light and dark, on contact sheets.

It says what is wrong with the mails, and ends with 1 if anything is.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Final, get_args

import jinja2

from deploy.gallery.browser import FOLDER, Page, Scheme, Seen, look, missing
from deploy.gallery.samples import samples
from worker.preview import WIDTHS, Preview, save
from worker.stationery import bundled

SCHEMES: Final = get_args(Scheme)
SHEET_SCALE: Final = 0.5
SHEET_WIDTH: Final = 2320
FRONT: Final = ("workflow.submit.en-GB.700.light.png", "workflow.submit.cy.375.dark.png")
"""What the README shows, side by side."""

FRONT_WIDTH: Final = 1160

_SHEET: Final = FOLDER / "sheet.html"

Rows = dict[str, list[Page]]
"""A caption -> pages whose pictures are beside one another."""


def main() -> int:
    """Makes the sheets beside this file; the exit code, 1 if a mail is faulty, 2 if none can be looked at."""
    if lack := missing():
        print(lack, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="notify-gallery-") as name:
        folder = Path(name)
        shown = pages(samples(), folder)
        faults = list(complaints(shown, look(list(shown))))
        _make_sheets(shown, folder)
    for fault in faults:
        print(fault)
    print(
        f"{len(shown)} looks at {len({page.file for page in shown})} mails: {len(faults)} faults",
        file=sys.stderr,
    )
    return bool(faults)


def pages(previews: Sequence[Preview], folder: Path) -> dict[Page, Preview]:
    """Each mail at each width and in each scheme, to be looked at and photographed."""
    return {
        Page(
            item.files["html"],
            width,
            scheme,
            picture=folder / f"{item.preview.name}.{width}.{scheme}.png",
            audit=width == min(WIDTHS),  # the colours are the same at every width
        ): item.preview
        for item, width, scheme in product(save(previews, folder), WIDTHS, SCHEMES)
    }


def complaints(shown: Mapping[Page, Preview], seen: Iterable[Seen]) -> Iterator[str]:
    """What is wrong with which mail."""
    for (page, preview), sight in zip(shown.items(), seen, strict=True):
        for fault in sight.faults():
            yield f"{preview.name}, {page.width} pixels, {page.scheme}: {fault}"


def _make_sheets(shown: Mapping[Page, Preview], folder: Path) -> None:
    sheets: dict[str, Rows] = {}
    for page, preview in shown.items():
        caption = preview.name.rpartition(".")[0].removeprefix("0.")
        sheets.setdefault(_sheet(preview), {}).setdefault(caption, []).append(page)
    front = [page for name in FRONT for page in shown if page.picture and page.picture.name == name]
    look(
        [
            _pasted("front", {"": front}, folder, FRONT_WIDTH, scale=1.0),
            *(_pasted(name, rows, folder, SHEET_WIDTH, SHEET_SCALE) for name, rows in sheets.items()),
        ]
    )


def _pasted(name: str, rows: Rows, folder: Path, width: int, scale: float) -> Page:
    """A page of pictures, to be photographed in its turn."""
    template = jinja2.Template(_SHEET.read_text("utf-8"), autoescape=True, undefined=jinja2.StrictUndefined)
    file = folder / f"sheet.{name}.html"
    file.write_text(template.render(title=name, rows=rows, scale=scale), encoding="utf-8")
    return Page(file, width, picture=FOLDER / f"{name}.webp", audit=False)


def _sheet(preview: Preview) -> str:
    """The sheet that a mail is on: its family's, or that of languages that the others do not show."""
    alone = len(preview.addressee.languages) == 1 and preview.addressee.language in bundled().languages
    return preview.addressee.variant.partition("/")[0] if alone else "languages"


if __name__ == "__main__":
    sys.exit(main())
