"""A RabbitMQ of our own: a private node beside whatever broker the machine has, on its own ports and folder.

It uses the programs of the distribution's package, never its service, or others (see `rabbitmq_programs`).
"""

import os
import secrets
import socket
import subprocess
from pathlib import Path
from random import SystemRandom
from typing import Self

from deploy.local.child import Child, ChildError
from deploy.local.rabbitmq_programs import programs

_LOOPBACK = "127.0.0.1"
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"
_START_SECONDS = 90
_STOP_SECONDS = 20
_COMMAND_SECONDS = 60
_DISTRIBUTION_ON_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"
# Ports below the range that systems take client ports from: a client that tries again and again to reach a
# broker that is down could otherwise be given that very port, and would be talking to itself.
_PORTS = range(20_000, 32_000)


def free_ports(count: int) -> tuple[int, ...]:
    """`count` TCP ports that nobody listens on at 127.0.0.1."""
    found: list[int] = []
    for port in SystemRandom().sample(_PORTS, len(_PORTS)):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return tuple(found)
    raise OSError(f"fewer than {count} free ports between {_PORTS.start} and {_PORTS.stop}")


class PrivateRabbitMQ:
    """A node with everything it has under `folder`; a context manager that starts and stops it.

    Addresses stay the same across `restart`, and so do durable data. Users are RabbitMQ's own guest, guest.
    Constructing it starts nothing. Raises RabbitMQMissingError.
    """

    def __init__(self, folder: Path, *, management: bool = False) -> None:
        self._programs = programs()
        self._folder = folder.resolve()
        self._management = management
        self._amqp, self._distribution, self._tools, self._epmd_port, self._http = free_ports(5)
        self._epmd: Child | None = None
        self._node: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the worker and publishers connect."""
        return f"amqp://guest:guest@{_LOOPBACK}:{self._amqp}/"

    @property
    def management_url(self) -> str:
        """Where the management pages and API are. Raises RuntimeError without `management=True`."""
        if not self._management:
            raise RuntimeError("this node was made without management=True")
        return f"http://{_LOOPBACK}:{self._http}"

    @property
    def pid(self) -> int:
        """The process id of the node. Raises RuntimeError when it was not started."""
        return self._started().pid

    @property
    def log(self) -> Path:
        """What the node has to say."""
        return self._folder / "node.log"

    def start(self) -> None:
        """Start, and return once clients can connect.

        Raises ChildError, with the end of the log, when that takes too long; nothing is left running then.
        """
        if self._node and self._node.running:
            return
        self._write_files()
        try:
            self._start_epmd()
            command = self._programs.command("rabbitmq-server", folder=self._folder)
            self._node = self._child("RabbitMQ", *command, log=self.log)
            self._node.wait_until(self._answers, _START_SECONDS)
        except BaseException:
            self.stop(patience_seconds=0)  # it serves nobody yet, and may not heed SIGTERM while it boots
            raise

    def stop(self, patience_seconds: float = _STOP_SECONDS) -> None:
        """Stop in good order, or by force when that takes too long; does nothing when it is not running."""
        try:
            if self._node:
                self._node.stop(patience_seconds)
        finally:
            if self._epmd:
                self._epmd.kill()

    def kill(self) -> None:
        """End the node at once, as a crash would."""
        self._started().kill()

    def restart(self) -> None:
        """Stop, if it runs, and start with the same addresses and data."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str, program: str = "rabbitmqctl") -> str:
        """What RabbitMQ's own tool prints when it is run against this node, with `--quiet`.

        `program` may be another one of them, such as rabbitmq-diagnostics. Raises ChildError with its
        complaint, and RuntimeError when the node was not started.
        """
        self._started()
        done = subprocess.run(
            self._programs.command(program, "--quiet", *arguments, folder=self._folder),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ChildError(f"{program} {arguments[0]} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _started(self) -> Child:
        # Without our epmd, RabbitMQ's tools start one that listens everywhere and outlives them.
        if self._node is None or self._epmd is None or not self._epmd.running:
            raise RuntimeError("this node was not started")
        return self._node

    def _start_epmd(self) -> None:
        """The names daemon, before a node starts one itself: in the foreground, on loopback only."""
        port = str(self._epmd_port)
        epmd = ("epmd", "-address", _LOOPBACK, "-port", port, "-relaxed_command_check")
        command = self._programs.inside(*epmd, folder=self._folder)
        self._epmd = self._child("epmd", *command, log=self._folder / "epmd.log")
        self._epmd.wait_until(lambda: _listens(self._epmd_port), _START_SECONDS)

    def _child(self, name: str, *command: str, log: Path) -> Child:
        return Child(name, command, log=log, env=self._environment(), cwd=self._folder)

    def _answers(self) -> bool:
        return _greets(self._amqp) and (not self._management or _listens(self._http))

    def _write_files(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write_cookie()
        (self._folder / "rabbitmq-env.conf").touch()
        (self._folder / "advanced.config").write_text("[].\n")
        plugins = "rabbitmq_management" if self._management else ""
        (self._folder / "enabled_plugins").write_text(f"[{plugins}].\n")
        (self._folder / "rabbitmq.conf").write_text("\n".join(self._settings()) + "\n")

    def _settings(self) -> list[str]:
        settings = [f"listeners.tcp.local = {_LOOPBACK}:{self._amqp}"]
        if self._management:
            settings += [f"management.tcp.ip = {_LOOPBACK}", f"management.tcp.port = {self._http}"]
        return settings

    def _write_cookie(self) -> None:
        cookie = self._folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(20))
            cookie.chmod(0o400)  # Erlang refuses one that others could read

    def _environment(self) -> dict[str, str]:
        """Nothing of RabbitMQ's that somebody set for another node reaches this one."""
        here = self._folder
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(here),
            "ERL_EPMD_ADDRESS": _LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": f"notify{self._amqp}@localhost",
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(here / "data"),
            "RABBITMQ_SCHEMA_DIR": str(here / "schema"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self._tools),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self._tools + 10),
            "RABBITMQ_CTL_ERL_ARGS": _DISTRIBUTION_ON_LOOPBACK,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _DISTRIBUTION_ON_LOOPBACK,
            # The start script becomes the node instead of waiting beside it: its process id is the node's.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }


def _is_free(port: int) -> bool:
    try:
        socket.create_server((_LOOPBACK, port)).close()
    except OSError:
        return False
    return True


def _listens(port: int) -> bool:
    try:
        socket.create_connection((_LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def _greets(port: int) -> bool:
    """Whether a broker answers the protocol header with Connection.Start, as it does once it takes clients."""
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=5) as connection:
            connection.sendall(_PROTOCOL_HEADER)
            return connection.recv(1) == _METHOD_FRAME
    except OSError:
        return False
