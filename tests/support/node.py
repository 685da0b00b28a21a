"""Node.js for the tests, from a Python package, and what npm installed for them; `make test` installs both."""

import os
from pathlib import Path
from typing import Final

import pytest

from deploy.local.node import node

__all__ = ["CHECKERS", "LEFT_OUT", "PUBLISHER", "READER", "ROOT", "node", "node_for"]

ROOT: Final = Path(__file__).parents[2]
LEFT_OUT: Final = "NOTIFY_TEST_WITHOUT_REAL_SERVERS"
"""The variable by which somebody leaves out what needs more than Python and RabbitMQ."""

READER: Final = ROOT / "tests" / "support" / "reader"
CHECKERS: Final = ROOT / "tests" / "support" / "checkers"
PUBLISHER: Final = ROOT / "deploy" / "publishers" / "node"


def node_for(package: Path) -> Path:
    """The program that runs what is in the folder `package`; leaves the test out where that was asked for."""
    if os.environ.get(LEFT_OUT):
        pytest.skip(f"LEFT OUT because {LEFT_OUT} is set: nothing here was tried with Node.js")
    program = node()
    if program is None or not (package / "node_modules").is_dir():
        pytest.fail(
            f"Node.js or its packages are missing: run `make servers`, or set {LEFT_OUT}=1", pytrace=False
        )
    return program
