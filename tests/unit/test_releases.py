"""What a release is told by: one version, a changelog in a known form, licences that may be used."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
import yaml

from deploy import licences
from worker import __version__

ROOT: Final = Path(__file__).parents[2]
CHANGELOG: Final = (ROOT / "CHANGELOG.md").read_text("utf-8")
RELEASE: Final = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)")
KINDS: Final = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
ASKING_NOTHING: Final = re.compile(r"MIT|Apache|BSD|ISC|PSF-2\.0|MPL 2\.0")
"""May be used and passed on with a program under any licence; MPL 2.0 as long as its files are not changed."""


def headings(level: int) -> list[str]:
    """The changelog's, of one level."""
    return re.findall(rf"^{'#' * level} (.+)$", CHANGELOG, re.MULTILINE)


def test_the_version_stands_in_one_place() -> None:
    """The packages, the image and the log take it from there; the example of a manifest says the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"] == {"path": "worker/__init__.py"}
    example = ROOT / "deploy" / "kubernetes" / "overlays" / "example" / "kustomization.yaml"
    assert yaml.safe_load(example.read_text("utf-8"))["images"][0]["newTag"] == __version__


def test_the_version_is_a_semantic_one() -> None:
    """So that administrators know what may break."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_the_changelog_begins_with_what_is_not_released() -> None:
    """As Keep a Changelog has it: one title, then Unreleased, then versions with their days."""
    unreleased, *released = headings(2)
    assert headings(1) == ["Changelog"]
    assert unreleased == "[Unreleased]"
    assert all(RELEASE.fullmatch(heading) for heading in released)


def test_the_changelog_has_the_latest_version_first() -> None:
    """And the latest is this one, once there is any."""
    released = [found.groups() for found in RELEASE.finditer(CHANGELOG)]
    numbers = [tuple(map(int, parts[:3])) for parts in released]
    assert all(later > earlier for later, earlier in pairwise(numbers))
    assert not released or ".".join(released[0][:3]) == __version__


def test_changes_are_of_the_known_kinds() -> None:
    """Each once under its version."""
    for version in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", version, re.MULTILINE)
        assert set(kinds) <= KINDS
        assert len(set(kinds)) == len(kinds)


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """What the packages that are installed here say of themselves."""
    return licences.licences()


def test_every_dependency_may_be_passed_on(found: dict[str, str]) -> None:
    """No licence that asks something of the worker's own."""
    assert len(found) > 30
    assert {name: licence for name, licence in found.items() if not ASKING_NOTHING.search(licence)} == {}


def test_the_list_of_licences_is_fresh(found: dict[str, str]) -> None:
    """`make licences` writes it. A Python other than 3.11 may need fewer packages."""
    text = licences.FILE.read_text("utf-8")
    listed = re.findall(r"^\| ([\w.-]+) \| .+ \|$", text, re.MULTILINE)[1:]
    assert set(found) <= set(listed) <= set(licences.locked())
    assert text.startswith(licences.INTRODUCTION)
    assert set(licences.table(found.items())) <= set(text.splitlines())
