"""Headless Chromium: pictures of pages, and what is wrong with them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from deploy.local.node import node

FOLDER: Final = Path(__file__).parent
PROGRAM: Final = FOLDER / "browser.js"
MODULES: Final = FOLDER / "node_modules" / "puppeteer-core"
CHROMIUM: Final = "CHROMIUM"
"""The environment variable that names another browser than the one on the path."""

LEFT_OUT: Final = "NOTIFY_TEST_WITHOUT_BROWSER"
SECONDS_A_PAGE: Final = 20

Scheme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Page:
    """A file to look at, in a window of `width` pixels.

    `picture` is a PNG or WebP file to write, `audit` whether axe is asked, which takes half a second.
    """

    file: Path
    width: int
    scheme: Scheme = "light"
    picture: Path | None = None
    audit: bool = True


@dataclass(frozen=True, slots=True)
class Seen:
    """What a page was like.

    `wide` is by how many pixels it has to be scrolled sideways, `missing` the characters without a glyph, `axe`
    what axe finds serious or worse, and `requests` what it loads beside itself.
    """

    text: str
    wide: int
    missing: Sequence[str]
    axe: Sequence[dict[str, Any]]
    requests: Sequence[str]

    def faults(self) -> Iterator[str]:
        """What is wrong, a sentence each."""
        if self.wide > 0:
            yield f"it has to be scrolled sideways by {self.wide} pixels"
        if self.missing:
            yield f"there is no glyph for {' '.join(self.missing)}"
        for violation in self.axe:
            yield f"axe: {violation['id']} ({violation['impact']}) at {violation['where'][0]}"
        if self.requests:
            yield f"it loads {', '.join(self.requests)}"


def missing() -> str:
    """What lacks for looking at pages and what to do, in one line; empty if nothing does."""
    what = ", ".join(_missing())
    advice = f"run `make browser`, or set {LEFT_OUT}=1 to leave these tests out"
    return f"Looking at mails lacks {what}: {advice}." if what else ""


def _missing() -> Iterator[str]:
    if chromium() is None:
        yield "Chromium"
    if node() is None or not MODULES.exists():
        yield "what drives it"


def chromium() -> str | None:
    """The browser's program."""
    return os.environ.get(CHROMIUM) or shutil.which("chromium")


def look(pages: Sequence[Page]) -> list[Seen]:
    """What the pages are like, in their order. Raises RuntimeError where that cannot be found out."""
    job = {"chromium": chromium(), "pages": [_asked(page) for page in pages]}
    done = subprocess.run(
        [str(node()), str(PROGRAM)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS_A_PAGE * (1 + len(pages)),
    )
    if done.returncode:
        raise RuntimeError(f"the browser failed: {done.stderr.strip()}")
    return [Seen(**answer) for answer in json.loads(done.stdout)]


def _asked(page: Page) -> dict[str, Any]:
    asked = asdict(page) | {"picture": page.picture and str(page.picture)}
    return {"address": asked.pop("file").resolve().as_uri(), **asked}
