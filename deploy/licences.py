"""docs/licences.md: what the worker depends on, and under which licence; `make licences` writes it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
FILE: Final = ROOT / "docs" / "licences.md"
LOCK: Final = ROOT / "requirements.lock"
INTRODUCTION: Final = """\
# Licences

notify-worker is under the MIT licence. With it are installed the packages of `requirements.lock`, which say of
themselves that they are under these; `make licences` writes this list. Their texts come with them, in the
folder `<package>.dist-info` beside each.

"""


def locked() -> list[str]:
    """The names in the worker's lock file, sorted."""
    return re.findall(r"^([\w.-]+)==", LOCK.read_text("utf-8"), re.MULTILINE)


def licences() -> dict[str, str]:
    """The licence of each package of the lock file that is installed here; those for other systems are not."""
    command = [
        sys.executable,
        "-m",
        "piplicenses",
        "--python",
        sys.executable,
        "--format",
        "json",
        "--packages",
    ]
    said = subprocess.run([*command, *locked()], capture_output=True, check=True).stdout
    return {_normal(it["Name"]): it["License"] for it in json.loads(said)}


def table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lines of Markdown, a package each."""
    yield from ("| package | licence |", "|---|---|")
    yield from (f"| {name} | {licence} |" for name, licence in sorted(rows))


def main() -> None:
    """Writes the file."""
    FILE.write_text(INTRODUCTION + "\n".join(table(licences().items())) + "\n", encoding="utf-8")


def _normal(name: str) -> str:
    """As the lock file spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
