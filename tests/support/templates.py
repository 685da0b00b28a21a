"""Folders of templates as an installation has them."""

from pathlib import Path


def written(folder: Path, files: dict[str, str]) -> Path:
    """A templates folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder
