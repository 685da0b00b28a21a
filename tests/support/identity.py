"""A real OAuth2 server over HTTPS: npm's `oidc-provider`, with a route beside it in the shape of Entra ID.

It runs on the Node.js of a Python package, so that no machine's own one is needed. `make test` installs both.
"""

import importlib.util
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx
import trustme

from deploy.local.child import Child
from deploy.local.rabbitmq import free_ports
from tests.support.certificates import Identity

PROGRAM: Final = Path(__file__).parent / "identity" / "server.js"
TENANT: Final = "5f3d1c9a-0000-4000-8000-00000000c0de"
START_SECONDS: Final = 30


class MissingError(RuntimeError):
    """A program that the real servers need is not on this machine."""


@dataclass(frozen=True, slots=True)
class Introspector:
    """Who may ask whether a token is good."""

    name: str = "dovecot"
    secret: str = "introspect-me"  # noqa: S105 - made up
