"""Which RabbitMQ is run: the distribution's package, another server, or one in a root folder of its own.

The packaged programs are those in `/usr/lib/rabbitmq/bin`: the ones of the same name on PATH switch to the user
`rabbitmq` and drop the environment. RABBITMQ_HOME names the folder of another server, the one that holds
`sbin/rabbitmq-server`. RABBITMQ_ROOT names a root folder, such as `rabbitmq4.sh` makes, in which all of that is
looked for instead: a release with libraries and an Erlang that this machine does not have.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_PACKAGED = Path("/usr/lib/rabbitmq/bin")
# The mounts are made in a namespace of the process's own, so they end with it, however it ends. Each step
# becomes the next: the process id that we started is the program's. /proc is the machine's, so an id means the
# same inside and outside, and the node's folder has the same path. Only root may do this.
_INSIDE = """
root=$1 folder=$2
shift 2
mount --bind /proc "$root/proc" && mount --bind /dev "$root/dev" &&
mkdir -p "$root$folder" && mount --bind "$folder" "$root$folder" &&
exec chroot "$root" env --chdir="$folder" "$@"
"""
_OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _INSIDE, "sh")


class RabbitMQMissingError(RuntimeError):
    """RabbitMQ's programs are not on this machine."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The folder of RabbitMQ's programs, and the root folder that it is in, if that is not the machine's."""

    folder: Path
    root: Path | None = None

    def command(self, program: str, *arguments: str, folder: Path) -> tuple[str, ...]:
        """A command line that runs one of them. `folder` holds all that it reads and writes."""
        return self.inside(str(self.folder / program), *arguments, folder=folder)

    def inside(self, *command: str, folder: Path) -> tuple[str, ...]:
        """The same for a program that is found on PATH, such as Erlang's."""
        return (*_OWN_MOUNTS, str(self.root), str(folder), *command) if self.root else command


def programs() -> Programs:
    """What the environment names, or the package. Raises RabbitMQMissingError."""
    home, root = os.environ.get("RABBITMQ_HOME"), os.environ.get("RABBITMQ_ROOT")
    folder = Path(home) / "sbin" if home else _PACKAGED
    if root:
        _require(Path(f"{root}/{folder}"), "run `make test-rabbitmq4`, or unset RABBITMQ_ROOT")
        return Programs(folder, Path(root).resolve())
    _require(folder, "run `make setup`, or set RABBITMQ_HOME to a server's folder")
    return Programs(folder)


def _require(folder: Path, advice: str) -> None:
    if not (folder / "rabbitmq-server").exists():
        raise RabbitMQMissingError(f"RabbitMQ was not found in {folder}: {advice}")
