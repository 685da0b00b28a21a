"""A real OAuth2 server over HTTPS: npm's `oidc-provider`, and a route beside it in the shape of Entra ID.

It runs on the Node.js of a Python package, so no machine's own one matters. `make test` installs both.
"""

import json
import os
import ssl
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import trustme

from deploy.local.child import Child
from deploy.local.rabbitmq import free_ports
from tests.support.node import node

PROGRAM: Final = Path(__file__).parent / "identity" / "server.js"
MODULES: Final = PROGRAM.parent / "node_modules" / "oidc-provider"
TENANT: Final = "5f3d1c9a-0000-4000-8000-00000000c0de"
START_SECONDS: Final = 30
_INTROSPECTOR: Final = {"id": "dovecot", "secret": "introspect-me"}


class IdentityServer:
    """The server; a context manager that starts and stops it. It can be started again at the same port.

    `clients` are ids and secrets; the tokens of every client are good for every one of `mailboxes`.
    """

    def __init__(
        self, folder: Path, authority: trustme.CA, *, clients: Mapping[str, str], mailboxes: Sequence[str]
    ) -> None:
        self._folder = folder
        self._clients, self._mailboxes = clients, mailboxes
        (self._port,) = free_ports(1)
        self._identity = authority.issue_cert("localhost", "127.0.0.1")
        self._trust = ssl.create_default_context()
        authority.configure_trust(self._trust)
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def authority(self) -> str:
        """What takes the place of Entra ID's address."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def token_endpoint(self) -> str:
        """Where any other provider's clients ask."""
        return f"{self.authority}/token"

    @property
    def introspection_url(self) -> str:
        """Where the mail server asks, with the name and secret to ask with."""
        name, secret = (quote(part) for part in _INTROSPECTOR.values())
        return f"https://{name}:{secret}@127.0.0.1:{self._port}/introspect"

    @property
    def mailbox_attributes(self) -> dict[str, str]:
        """By which attribute of an introspection's answer each mailbox is named."""
        return {mailbox: f"mailbox_{number}" for number, mailbox in enumerate(self._mailboxes)}

    def start(self) -> None:
        """Starts it; tokens given before are not known any more. Raises ChildError if it does not start."""
        path = self._folder / "identity.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._config()))
        child = Child(
            "the OAuth2 server",
            [str(node()), str(PROGRAM), str(path)],
            log=self._folder / "log",
            env={"PATH": os.environ["PATH"]},
        )
        self._undo.enter_context(child)
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            child.wait_until(self._answers, START_SECONDS)
            on_failure.pop_all()

    def stop(self) -> None:
        """Ends it; nobody listens there then."""
        self._undo.close()

    def control(self, **changes: Any) -> dict[str, Any]:
        """Changes what it does, and tells; the fields are those of `state` in the program."""
        with self._http() as http:
            told: dict[str, Any] = http.put("/control", json=changes).raise_for_status().json()
        return told

    def revoke_tokens(self) -> None:
        """No token given so far is good any more."""
        self.control(generation=self.control()["generation"] + 1)

    def _http(self) -> httpx.Client:
        return httpx.Client(base_url=self.authority, verify=self._trust)

    def _answers(self) -> bool:
        with self._http() as http, suppress(httpx.TransportError):
            return http.get("/control").is_success
        return False

    def _config(self) -> dict[str, Any]:
        certificates = b"".join(pem.bytes() for pem in self._identity.cert_chain_pems)
        return {
            "address": "127.0.0.1",
            "port": self._port,
            "key": self._identity.private_key_pem.bytes().decode(),
            "certificate": certificates.decode(),
            "tenant": TENANT,
            "clients": self._clients,
            "mailboxes": self._mailboxes,
            "introspector": _INTROSPECTOR,
        }
