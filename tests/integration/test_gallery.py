"""Every mail in headless Chromium, as phones and desktops show it, light and dark, and what axe says of it."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from deploy.gallery import browser
from deploy.gallery.browser import LEFT_OUT, Page, Seen, look
from deploy.gallery.make import complaints, pages
from deploy.gallery.samples import samples
from worker.preview import INDEX, Preview
from worker.stationery import bundled

FAULTY: Final = """<!doctype html><html lang="en"><title>x</title><body>
<h1>ŵ ŷ ï \U00013080</h1><p style="color:#999">light grey</p><pre style="width:900px">wide</pre>
<img src="https://x.example/pixel.png" alt=""></body></html>"""


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    if os.environ.get(LEFT_OUT):
        pytest.skip(f"LEFT OUT because {LEFT_OUT} is set: no mail was looked at in a browser")
    if lack := browser.missing():
        pytest.fail(lack, pytrace=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the mails are."""
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="module")
def shown(folder: Path) -> Mapping[Page, Preview]:
    """All mails at all widths, light and dark."""
    return {replace(page, picture=None): preview for page, preview in pages(samples(), folder).items()}


@pytest.fixture(scope="module")
def seen(shown: Mapping[Page, Preview]) -> list[Seen]:
    """What the browser says of each."""
    return look(list(shown))


def test_no_mail_is_faulty(shown: Mapping[Page, Preview], seen: list[Seen]) -> None:
    """None scrolls sideways, lacks a glyph, loads anything, or has what axe calls serious."""
    assert list(complaints(shown, seen)) == []


def test_no_key_of_a_phrase_is_shown(seen: list[Seen]) -> None:
    """Each is said in words."""
    keys = "|".join(map(re.escape, bundled().wordings["en-GB"].keys))
    assert not [text for sight in seen for text in re.findall(rf"\b(?:{keys})\b", sight.text) if "." in text]


def test_every_mail_is_looked_at_in_both_schemes_on_both_screens(shown: Mapping[Page, Preview]) -> None:
    """Each folder of templates, in each language."""
    mails = {preview.addressee.variant for preview in shown.values()}
    assert mails >= set(bundled().mails) - {"workflow/submitAndApprove", "workflow/submitAndScheduledApprove"}
    assert {(page.width, page.scheme) for page in shown} == {
        (375, "light"),
        (375, "dark"),
        (700, "light"),
        (700, "dark"),
    }


def test_what_is_wrong_with_a_page_is_found(tmp_path: Path) -> None:
    """So that finding nothing means something."""
    (tmp_path / "faulty.html").write_text(FAULTY, encoding="utf-8")
    [sight] = look([Page(tmp_path / "faulty.html", 375)])
    wide, glyph, contrast, loads = sight.faults()
    assert re.fullmatch(r"it has to be scrolled sideways by 5\d\d pixels", wide)
    assert glyph == "there is no glyph for \U00013080"
    assert contrast.startswith("axe: color-contrast (serious) at <p ")
    assert loads == "it loads https://x.example/pixel.png"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_previews_is_sound_too(folder: Path, shown: object, scheme: browser.Scheme) -> None:
    """It is for people as well; its frames are wider than a phone, and are scrolled by themselves."""
    [sight] = look([Page(folder / INDEX, 1600, scheme)])
    assert list(sight.faults()) == []


def test_a_browser_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever named another one is told."""
    monkeypatch.setenv(browser.CHROMIUM, str(tmp_path / "nothing"))
    with pytest.raises(RuntimeError, match="the browser failed: "):
        look([Page(tmp_path / "x.html", 375)])
