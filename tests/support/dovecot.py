"""A real Dovecot of our own that does nothing but SASL for Postfix: passwords from a file, tokens by asking.

A token is good for a mailbox when the OAuth2 server's introspection says that it is active and names the
mailbox. Dovecot 2.3 (Debian 12, Ubuntu 24.04) and 2.4 (Debian 13) are configured in different languages.
"""

import base64
import os
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from deploy.local.child import Child

START_SECONDS: Final = 20

# Those who err are not made to wait: no delay, no penalty.
_COMMON: Final = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
ssl = no
auth_mechanisms = plain login xoauth2 oauthbearer
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
"""

_CONF_2_3: Final = """\
protocols =
disable_plaintext_auth = no
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

# It compares one attribute with the user, so each mailbox has a passdb of its own.
_TOKENS_2_3: Final = """\
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {settings}
}}
"""

_SETTINGS_2_3: Final = """\
introspection_mode = post
introspection_url = {url}
username_attribute = {attribute}
active_attribute = active
active_value = true
tls_ca_cert_file = {authority}
"""

# Here one attribute is all that can be compared, so tokens are good for the first of the mailboxes only.
_CONF_2_4: Final = """\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols {{
}}
auth_allow_cleartext = yes
userdb static {{
  fields {{
    uid = nobody
    gid = nogroup
    home = /nonexistent
  }}
}}
passdb passwd-file {{
  mechanisms_filter = plain login
  passwd_file_path = {folder}/users
  auth_username_format = %{{user}}
}}
oauth2 {{
  introspection_mode = post
  introspection_url = {url}
  username_attribute = {attribute}
  active_attribute = active
  active_value = true
  ssl_client_ca_file = {authority}
}}
"""


class Dovecot:
    """The server; a context manager that starts and stops it.

    `users` are names and passwords; `introspection_url`, trusted by the PEM file `authority`, holds the name
    and secret to ask with. `mailboxes` says by which attribute of its answer each mailbox is named.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str],
        introspection_url: str,
        authority: Path,
        mailboxes: Mapping[str, str],
    ) -> None:
        self._folder, self._users = folder, users
        self._url, self._authority, self._mailboxes = introspection_url, authority, mailboxes
        self._undo = ExitStack()

    @property
    def socket(self) -> Path:
        """Where Postfix asks."""
        return self._folder / "sasl"

    @property
    def knows_several_mailboxes(self) -> bool:
        """Whether a token can be good for more than one mailbox: in version 2.3."""
        return version().startswith("2.3.")

    def __enter__(self) -> Self:
        """Raises ChildError if it does not start."""
        conf = self._write_files()
        command = ["dovecot", "-F", "-c", str(conf)]
        child = self._undo.enter_context(
            Child("Dovecot", command, log=self._folder / "log", env=_environment())
        )
        with ExitStack() as on_failure:
            on_failure.callback(self._undo.close)
            child.wait_until(self.socket.is_socket, START_SECONDS)
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _write_files(self) -> Path:
        lines = (f"{user}:{{PLAIN.b64}}{_base64(password)}\n" for user, password in self._users.items())
        self._write("users", "".join(lines))
        common = _COMMON.format(folder=self._folder, socket=self.socket)
        # The version has to be the first line of the new language.
        conf = common + self._conf_2_3() if self.knows_several_mailboxes else self._conf_2_4() + common
        return self._write("dovecot.conf", conf)

    def _conf_2_3(self) -> str:
        tokens = []
        for attribute in self._mailboxes.values():
            text = _SETTINGS_2_3.format(url=self._url, attribute=attribute, authority=self._authority)
            tokens.append(_TOKENS_2_3.format(settings=self._write(f"{attribute}.conf", text)))
        return "".join([_CONF_2_3.format(folder=self._folder), *tokens])

    def _conf_2_4(self) -> str:
        return _CONF_2_4.format(
            folder=self._folder,
            url=self._url,
            attribute=next(iter(self._mailboxes.values())),
            authority=self._authority,
        )

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text)
        return path


def version() -> str:
    """Such as `2.3.19.1 (9b53102964)`."""
    command = ["dovecot", "--version"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return done.stdout


def _environment() -> dict[str, str]:
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin", "LANG": "C.UTF-8"}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
