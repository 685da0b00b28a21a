"""A real Postfix of our own: one server with a port for every way to connect, and one Maildir for all mail.

It is started from the distribution's package, with its own configuration, queue and log in a folder, and can
send nothing on: it knows no way out of this machine. Only root can start it.
"""

import os
import pwd
import re
import socket
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Self

from deploy.local.child import Child
from deploy.local.rabbitmq import free_ports

START_SECONDS: Final = 20
DAEMONS: Final = Path("/usr/lib/postfix/sbin")
OWNER: Final = "nobody"


@dataclass(frozen=True, slots=True)
class Listener:
    """One port: where it listens, and what it does otherwise than the rest, in main.cf's parameters."""

    address: str = "127.0.0.1"
    parameters: Mapping[str, str] = field(default_factory=dict)

    def but(self, **parameters: str) -> "Listener":
        """The same with some parameters changed."""
        return Listener(self.address, {**self.parameters, **parameters})


PLAIN: Final = Listener(parameters={"smtpd_tls_security_level": "none", "smtpd_tls_auth_only": "no"})
STARTTLS: Final = Listener()
IMPLICIT: Final = Listener(parameters={"smtpd_tls_wrappermode": "yes"})
_LOGIN_ONLY: Final = {"smtpd_sasl_mechanism_filter": "login"}
# Distributions forbid these versions in a file of their own, and OpenSSL by its security level.
_OLD_TLS: Final = {
    "smtpd_tls_protocols": ">=TLSv1, <=TLSv1.1",
    "smtpd_tls_mandatory_protocols": ">=TLSv1, <=TLSv1.1",
    "tls_config_file": "none",
    "tls_medium_cipherlist": "ALL:@SECLEVEL=0",
}

LISTENERS: Final[Mapping[str, Listener]] = {
    "none": PLAIN,
    "starttls": STARTTLS,
    "implicit": IMPLICIT,
    "none-login": PLAIN.but(**_LOGIN_ONLY),
    "starttls-login": STARTTLS.but(**_LOGIN_ONLY),
    "implicit-login": IMPLICIT.but(**_LOGIN_ONLY),
    "starttls-oauthbearer": STARTTLS.but(smtpd_sasl_mechanism_filter="oauthbearer"),
    "starttls-old": STARTTLS.but(**_OLD_TLS),
    "implicit-old": IMPLICIT.but(**_OLD_TLS),
    "starttls-wrong-name": STARTTLS.but(smtpd_tls_chain_files="$certificates/wrong-name.pem"),
    "starttls-untrusted": STARTTLS.but(smtpd_tls_chain_files="$certificates/untrusted.pem"),
    "implicit-wrong-name": IMPLICIT.but(smtpd_tls_chain_files="$certificates/wrong-name.pem"),
    "implicit-untrusted": IMPLICIT.but(smtpd_tls_chain_files="$certificates/untrusted.pem"),
    "name": STARTTLS.but(smtpd_tls_chain_files="$certificates/name.pem"),
    "ipv4": STARTTLS.but(smtpd_tls_chain_files="$certificates/ipv4.pem"),
    "ipv6": Listener("::1", {"smtpd_tls_chain_files": "$certificates/ipv6.pem"}),
    "members": STARTTLS.but(smtpd_client_restrictions="permit_sasl_authenticated, reject"),
    "impatient": STARTTLS.but(smtpd_timeout="1s"),
    "two-sessions": STARTTLS.but(smtpd_client_connection_count_limit="2"),
    "implicit-two-sessions": IMPLICIT.but(smtpd_client_connection_count_limit="2"),
}
"""Every port by its name, which begins with its encryption where that is not STARTTLS."""

REFUSALS: Final[Mapping[str, Mapping[str, str]]] = {
    "at-rcpt": {
        "unknown@refused.example": "550 5.1.1 User unknown",
        "full@refused.example": "452 4.2.2 Mailbox full",
    },
    "at-data": {"later@refused.example": "451 4.7.1 Greylisted, try again in 5 minutes"},
    "after-the-dot": {
        "spam@refused.example": "554 5.7.1 Looks like spam",
        "disk@refused.example": "452 4.3.1 Out of storage",
    },
}
"""Where a transaction to an address ends, and with which reply."""

_MAIN_CF: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
certificates = {certificates}

myhostname = postfix.example
mydestination =
mynetworks = 127.0.0.0/8 [::1]/128
alias_maps =
default_transport = error:no mail leaves this machine
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {folder}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}

smtpd_tls_security_level = may
smtpd_tls_chain_files = $certificates/loopback.pem
smtpd_tls_auth_only = yes
smtpd_tls_received_header = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {sasl}
smtpd_sasl_authenticated_header = yes
smtpd_sasl_tls_security_options = noanonymous

smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/at-rcpt, permit
smtpd_data_restrictions = check_recipient_access texthash:{folder}/at-data
smtpd_end_of_data_restrictions = check_recipient_access texthash:{folder}/after-the-dot

# Neither slow towards those who err nor limiting anybody, but where a port says so.
in_flow_delay = 0
smtpd_error_sleep_time = 0
smtpd_client_event_limit_exceptions =
smtpd_client_connection_count_limit = 0
"""

_MASTER_CF: Final = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A mail from the Maildir: the envelope, how it came, and its bytes as they were sent.

    `login` is empty where nobody logged in, `tls_version` where nothing was encrypted.
    """

    sender: str
    recipient: str
    login: str
    tls_version: str
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        return message_from_bytes(self.content, policy=policy.default)


class Postfix:
    """The server; a context manager that starts and stops it.

    `certificates` is a folder that holds the PEM files named in `LISTENERS`, `sasl` the socket of Dovecot's
    auth service. Postfix gives up root's rights, so its own user must be able to reach `folder`.
    """

    def __init__(self, folder: Path, *, certificates: Path, sasl: Path) -> None:
        self._folder, self._certificates, self._sasl = folder, certificates, sasl
        self._ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
        self._undo = ExitStack()
        self._log_start = 0

    def __enter__(self) -> Self:
        """Raises ChildError if it does not start."""
        self._write_files()
        _postfix_check(self._folder)
        command = [str(DAEMONS / "master"), "-c", str(self._folder), "-s"]
        master = Child("Postfix", command, log=self._folder / "master.log", env=_environment())
        self._undo.enter_context(master)
        with ExitStack() as on_failure:
            on_failure.callback(self._undo.close)
            master.wait_until(self._greets, START_SECONDS)
            master.wait_until(lambda: self.connections() > 0 and self.everybody_left(), START_SECONDS)
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def port(self, listener: str) -> int:
        """The port of a listener."""
        return self._ports[listener]

    def forget(self) -> None:
        """From now on `mails` and `log` tell only of what comes."""
        for path in self._mail_files():
            path.unlink()
        self._log_start = self._log_file.stat().st_size

    @property
    def log(self) -> list[str]:
        """What the server has logged."""
        with self._log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode().splitlines()

    def logged(self, words: str, listener: str = "") -> int:
        """How many lines hold `words`, of one listener or of all."""
        origin = f"postfix/{listener}/" if listener else ""
        return sum(words in line and origin in line for line in self.log)

    def connections(self, listener: str = "") -> int:
        """How often somebody connected, to one listener or to all."""
        return self.logged("]: connect from", listener)

    def everybody_left(self, listener: str = "") -> bool:
        """Whether nobody is connected any more, to one listener or to any."""
        return self.logged("]: disconnect from", listener) >= self.connections(listener)

    def mails(self) -> list[Stored]:
        """What was accepted and has been stored, in no order."""
        return [_stored(path.read_bytes()) for path in self._mail_files()]

    @property
    def stored(self) -> int:
        """How many mails have been stored."""
        return len(self._mail_files())

    @property
    def _log_file(self) -> Path:
        return self._folder / "maillog"

    def _mail_files(self) -> list[Path]:
        return list((self._folder / "mail" / "all" / "new").glob("*"))

    def _write_files(self) -> None:
        owner = pwd.getpwnam(OWNER)
        for name in ("queue", "data", "mail"):
            (self._folder / name).mkdir()
        os.chown(self._folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        os.chown(self._folder / "mail", owner.pw_uid, owner.pw_gid)
        for name, replies in REFUSALS.items():
            (self._folder / name).write_text("".join(f"{who} {reply}\n" for who, reply in replies.items()))
        main = _MAIN_CF.format(
            folder=self._folder,
            certificates=self._certificates,
            sasl=self._sasl,
            uid=owner.pw_uid,
            gid=owner.pw_gid,
        )
        (self._folder / "main.cf").write_text(main)
        services = [_service(name, listener, self._ports[name]) for name, listener in LISTENERS.items()]
        (self._folder / "master.cf").write_text("\n".join([_MASTER_CF, *services]))

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port("none")), timeout=5) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False


def _service(name: str, listener: Listener, port: int) -> str:
    """A line of master.cf, with its options."""
    parameters = {"syslog_name": f"postfix/{name}", **listener.parameters}
    options = [f"  -o {{ {key} = {value} }}" for key, value in parameters.items()]
    return "\n".join([f"[{listener.address}]:{port} inet n - n - - smtpd", *options, ""])


def _postfix_check(folder: Path) -> None:
    """Has Postfix make the folders of its queue. Raises RuntimeError if its configuration is wrong."""
    command = ["postfix", "-c", str(folder), "check"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        raise RuntimeError(f"Postfix finds its configuration wrong:\n{done.stderr}")


def _environment() -> dict[str, str]:
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin", "LANG": "C.UTF-8"}


_TRACE: Final = re.compile(
    rb"Return-Path: <(?P<sender>.*)>\n"
    rb"X-Original-To: .*\n"
    rb"Delivered-To: (?P<recipient>.*)\n"
    rb"(?P<received>Received: .*\n(?:[ \t].*\n)*)"
)


def _stored(file: bytes) -> Stored:
    trace = _TRACE.match(file)
    assert trace, file[:500]
    login = re.search(rb"\(Authenticated sender: (.*)\)", trace["received"])
    tls = re.search(rb"\(using (\S+) with", trace["received"])
    return Stored(
        sender=trace["sender"].decode(),
        recipient=trace["recipient"].decode(),
        login=login[1].decode() if login else "",
        tls_version=tls[1].decode() if tls else "",
        content=file[trace.end() :].replace(b"\n", b"\r\n"),
    )
