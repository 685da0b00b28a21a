"""A real Dovecot of our own that does nothing but SASL for Postfix: passwords from a file, tokens by asking.

A token is good for a mailbox when the OAuth2 server's introspection says that it is active and names the
mailbox. Dovecot compares one attribute of that answer with the user, so each mailbox has a passdb of its own.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from deploy.local.child import Child

START_SECONDS: Final = 20

_DOVECOT_CONF: Final = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2 oauthbearer

# Those who err are not made to wait.
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service auth {{
  unix_listener {socket} {{
    mode = 0666
  }}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = username_format=%u {folder}/users
}}
"""

_TOKEN_PASSDB: Final = """\
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {settings}
}}
"""

_TOKEN_SETTINGS: Final = """\
introspection_mode = post
introspection_url = {url}
username_attribute = {attribute}
active_attribute = active
active_value = true
tls_ca_cert_file = {authority}
"""


class Dovecot:
    """The server; a context manager that starts and stops it.

    `users` are names and passwords; `introspection_url`, trusted by the PEM file `authority`, holds the name
    and secret to ask with. `attributes` are those of its answer that name a mailbox, one each.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str],
        introspection_url: str,
        authority: Path,
        attributes: Sequence[str],
    ) -> None:
        self._folder, self._users = folder, users
        self._url, self._authority, self._attributes = introspection_url, authority, attributes
        self._undo = ExitStack()

    @property
    def socket(self) -> Path:
        """Where Postfix asks."""
        return self._folder / "sasl"

    def __enter__(self) -> Self:
        """Raises ChildError if it does not start."""
        self._write_files()
        command = ["dovecot", "-F", "-c", str(self._folder / "dovecot.conf")]
        env = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "LANG": "C.UTF-8"}
        child = self._undo.enter_context(Child("Dovecot", command, log=self._folder / "log", env=env))
        with ExitStack() as on_failure:
            on_failure.callback(self._undo.close)
            child.wait_until(self.socket.is_socket, START_SECONDS)
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _write_files(self) -> None:
        lines = (f"{user}:{{PLAIN.b64}}{_base64(password)}\n" for user, password in self._users.items())
        self._write("users", "".join(lines))
        passdbs = [self._token_passdb(attribute) for attribute in self._attributes]
        conf = _DOVECOT_CONF.format(folder=self._folder, socket=self.socket)
        self._write("dovecot.conf", "\n".join([conf, *passdbs]))

    def _token_passdb(self, attribute: str) -> str:
        settings = _TOKEN_SETTINGS.format(url=self._url, attribute=attribute, authority=self._authority)
        return _TOKEN_PASSDB.format(settings=self._write(f"{attribute}.conf", settings))

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text)
        return path


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
