"""Postfix, Dovecot and an OAuth2 server that know each other, and the settings that make a worker use them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import trustme

from tests.support.dovecot import Dovecot
from tests.support.identity_server import MODULES, TENANT, IdentityServer
from tests.support.node import LEFT_OUT, node
from tests.support.postfix import DAEMONS, LISTENERS, Postfix

USER: Final = "cms@contensis.example"
PASSWORD: Final = "pa ss:word#=\"quoted\" 'single' \\ %2B+&;<>{}$HOME~`|^@é€🔑"
CLIENT: Final = "9c1e7d52-0000-4000-8000-0000000000a1"
# RFC 6749 allows every visible ASCII character and the space in a secret.
SECRET: Final = "".join(map(chr, range(0x21, 0x7F))) + " ~end"
MAILBOX: Final = "no-reply@contensis.com"
OTHER_MAILBOX: Final = "foi-request@broddu.example"

BASIC: Final[Mapping[str, str]] = {"EmailSmtpUsername": USER, "EmailSmtpPassword": PASSWORD}
"""Settings of a user name and a password."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to authenticate: its settings, the end of the name of the port to use, and what Postfix learns."""

    settings: Callable[["RealServers"], Mapping[str, str]]
    port: str
    login: str
    mechanism: str


WAYS: Final[Mapping[str, Way]] = {
    "anonymous": Way(lambda _: {}, "", "", ""),
    "basic PLAIN": Way(lambda _: BASIC, "", USER, "plain"),
    "basic LOGIN": Way(lambda _: BASIC, "-login", USER, "login"),
    "XOAUTH2 Entra": Way(lambda real: real.entra, "", MAILBOX, "xoauth2"),
    "XOAUTH2 generic": Way(lambda real: real.generic, "", MAILBOX, "xoauth2"),
}
ENCRYPTIONS: Final = ("none", "starttls", "implicit")
DOCUMENTED: Final = [
    (encryption, way)
    for encryption in ENCRYPTIONS
    for way in WAYS
    if encryption != "none" or "XOAUTH2" not in way
]
"""The guide's matrix without its one exception: OAuth2 requires an encrypted connection."""


def missing() -> str:
    """Why the servers cannot be started here and what to do, in one line; empty if they can."""
    what = ", ".join(_missing())
    advice = f"run `make test` as root, or set {LEFT_OUT}=1 to leave these tests out"
    return f"The tests against real servers lack {what}: {advice}." if what else ""


def _missing() -> Iterator[str]:
    path = f"{os.environ['PATH']}:/usr/sbin"
    if os.geteuid() != 0:
        yield "root, who alone can start Postfix"
    if not (DAEMONS / "master").exists():
        yield "Postfix"
    if shutil.which("dovecot", path=path) is None:
        yield "Dovecot"
    if node() is None or not MODULES.exists():
        yield "the OAuth2 server"


class RealServers:
    """The three servers, with a certificate authority of their own; a context manager."""

    def __init__(self) -> None:
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._start(Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="notify-"))), undo)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _start(self, folder: Path, undo: ExitStack) -> None:
        folder.chmod(0o711)  # Postfix's and Dovecot's own users have to come through
        folders = {name: folder / name for name in ("identity", "dovecot", "postfix", "certificates")}
        for path in folders.values():
            path.mkdir()
        authority = trustme.CA()
        self.ca_file = folder / "authority.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        _write_certificates(folders["certificates"], authority)
        self.identity = undo.enter_context(
            IdentityServer(
                folders["identity"],
                authority,
                clients={CLIENT: SECRET},
                mailboxes=[MAILBOX, OTHER_MAILBOX],
            )
        )
        self.dovecot = Dovecot(
            folders["dovecot"],
            users={USER: PASSWORD},
            introspection_url=self.identity.introspection_url,
            authority=self.ca_file,
            mailboxes=self.identity.mailbox_attributes,
        )
        undo.enter_context(self.dovecot)
        self.postfix = undo.enter_context(
            Postfix(folders["postfix"], certificates=folders["certificates"], sasl=self.dovecot.socket)
        )

    def forget(self) -> None:
        """As if they had just been started."""
        self.postfix.forget()
        self.identity.control(lifetime=3600, down=False, throttled=0, requests=0, issued=0)

    @property
    def entra(self) -> dict[str, str]:
        """Settings of OAuth2 for Microsoft 365; NOTIFY_ENTRA_AUTHORITY stands for Microsoft's own address."""
        return {
            "EmailSmtpUseOAuth2": "true",
            "EmailSmtpOAuth2AzureTenantId": TENANT,
            "EmailSmtpOAuth2ClientId": CLIENT,
            "EmailSmtpOAuth2ClientSecret": SECRET,
            "NOTIFY_ENTRA_AUTHORITY": self.identity.authority,
        }

    @property
    def generic(self) -> dict[str, str]:
        """Settings of OAuth2 for any other provider."""
        return {
            "EmailSmtpUseOAuth2": "true",
            "EmailSmtpOAuth2TokenEndpoint": self.identity.token_endpoint,
            "EmailSmtpOAuth2ClientId": CLIENT,
            "EmailSmtpOAuth2ClientSecret": SECRET,
            "EmailSmtpOAuth2Scope": "mail.send",
        }

    def settings(self, encryption: str, way: str) -> dict[str, str]:
        """All settings of one field of the matrix."""
        return self.connection(encryption + WAYS[way].port) | dict(WAYS[way].settings(self))

    def connection(self, listener: str, host: str = "") -> dict[str, str]:
        """Settings that connect to one of Postfix's ports, encrypted as its name says, trusting its issuer."""
        return {
            "EmailSMTPHost": host or LISTENERS[listener].address,
            "EmailSmtpPort": str(self.postfix.port(listener)),
            "EmailSmtpUseSSL": str(not listener.startswith(("none", "implicit"))).lower(),
            "EmailSmtpUseImplicitSSL": str(listener.startswith("implicit")).lower(),
            "NOTIFY_SMTP_CA_FILE": str(self.ca_file),
            "SSL_CERT_FILE": str(self.ca_file),
        }


def _write_certificates(folder: Path, authority: trustme.CA) -> None:
    stranger = trustme.CA(organization_name="Nobody knows")
    for name, issuer, hosts in (
        ("loopback", authority, ("localhost", "127.0.0.1", "::1")),
        ("name", authority, ("localhost",)),
        ("ipv4", authority, ("127.0.0.1",)),
        ("ipv6", authority, ("::1",)),
        ("wrong-name", authority, ("mail.elsewhere.example",)),
        ("untrusted", stranger, ("localhost", "127.0.0.1", "::1")),
    ):
        path = folder / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_bytes(issuer.issue_cert(*hosts).private_key_and_cert_chain_pem.bytes())
