"""The packages of a release: an sdist, the wheel made from it, and whether that starts where nothing else is.

`make release` has them in `dist/`. The wheel is made from the sdist, so what one lacks the other lacks too.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements.lock"
PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")
TRIED: Final = (["--version"], ["settings"], ["topology", "definitions"], ["preview", "--out", "mails"])


def build(folder: Path) -> Path:
    """The wheel; it and the sdist are in `folder` then, which must hold no others."""
    _run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", folder)
    (sdist,) = folder.glob("*.tar.gz")
    _run(
        *PIP,
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        sdist,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(folder: Path) -> Path:
    """The Python of a new virtual environment in `folder`, with nothing in it, not even pip."""
    _run(sys.executable, "-m", "venv", "--clear", "--without-pip", folder)
    return folder / "bin" / "python"


def install(wheel: Path, python: Path) -> None:
    """Puts the wheel, and nothing that it depends on, where `python` is."""
    _run(*PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)


def main() -> None:
    """Builds into the folder named, installs into the other one from the lock file, and tries it."""
    packages, installed = map(Path, sys.argv[1:])
    wheel = build(packages)
    python = environment(installed)
    _run(*PIP, "--python", python, "install", "--quiet", "--require-hashes", "-r", LOCK)
    install(wheel, python)
    program = python.with_name("notify-worker").absolute()
    with tempfile.TemporaryDirectory() as empty:
        for arguments in TRIED:
            subprocess.run([program, *arguments], cwd=empty, env={}, stdout=subprocess.DEVNULL, check=True)
    print("\n".join(f"✓ {file}" for file in sorted(packages.iterdir())))
    print(f"✓ {wheel.name} starts in an environment that has only it and {LOCK.name}")


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
