#!/bin/sh
# Makes a checkout ready to run, with nothing there but python3: .venv from the lock file, and RabbitMQ's programs
# from the distribution's packages. What is done already is not done again.
#
#   bootstrap.sh        both
#   bootstrap.sh venv   only .venv
#
# RABBITMQ_HOME names the folder of a RabbitMQ server to use instead (the one that holds sbin/rabbitmq-server).
set -eu
cd "$(dirname "$0")/../.."

packaged_server=/usr/lib/rabbitmq/bin/rabbitmq-server
policy=/usr/sbin/policy-rc.d
stamp=.venv/.made-from

say() {
    printf '%s\n' "$*" >&2
}

give_up() {
    say "$*"
    exit 2
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }
}

apt_get() {
    complaint=$(as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -qq -o DPkg::Lock::Timeout=120 "$@" 2>&1)
}

# Fresh machines have no package lists, and old lists name packages that are gone: try, refresh, try again.
apt_install() {
    apt_get install -y --no-install-recommends "$@" && return
    say "Refreshing the package lists"
    apt_get update && apt_get install -y --no-install-recommends "$@" && return
    say "$complaint"
    return 1
}

# --- Python -----------------------------------------------------------------------------------------------------

require_python() {
    command -v python3 >/dev/null || give_up "python3 is missing: install Python 3.11 or newer."
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        give_up "Python 3.11 or newer is needed; python3 is $(python3 -c 'import platform; print(platform.python_version())')."
}

# Debian keeps what makes virtual environments in a package of its own.
require_venv_module() {
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    say "Installing python3-venv"
    { can_install && apt_install python3-venv && python3 -c 'import ensurepip, venv'; } ||
        give_up "python3 cannot make virtual environments: install python3-venv (apt-get install python3-venv)."
}

# An environment knows where it lies and which Python made it, so a copied one is made anew.
place() {
    python3 -c 'import sys; print(sys.version.replace("\n", " "), sys.base_prefix)'
    pwd -P
}

contents() {
    cksum requirements-dev.lock pyproject.toml
}

make_venv() {
    wanted="$(place; contents)"
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    require_venv_module
    say "Making .venv from requirements-dev.lock (once; a minute or so)"
    case "$(cat "$stamp" 2>/dev/null)" in
        "$(place)"* | "") python3 -m venv .venv ;;
        *) python3 -m venv --clear .venv ;;
    esac
    rm -f "$stamp"
    .venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements-dev.lock
    .venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
    printf '%s\n' "$wanted" >"$stamp"
}

# --- RabbitMQ ---------------------------------------------------------------------------------------------------

require_rabbitmq() {
    if [ -n "${RABBITMQ_HOME:-}" ]; then
        [ -x "$RABBITMQ_HOME/sbin/rabbitmq-server" ] || give_up "RABBITMQ_HOME holds no sbin/rabbitmq-server."
    elif ! [ -x "$packaged_server" ]; then
        install_rabbitmq
    fi
}

install_rabbitmq() {
    say "Installing rabbitmq-server from the distribution's packages (once; a minute or so)"
    { can_install && install_without_starting && [ -x "$packaged_server" ]; } ||
        give_up "RabbitMQ is missing: install it (apt-get install rabbitmq-server), or set RABBITMQ_HOME to a server's folder."
}

# The package is wanted for its programs only: its service is not started, now or at the next boot. What runs
# here already is left alone, and so is the machine's own policy about services, if it has one.
install_without_starting() {
    services="rabbitmq-server.service"
    command -v epmd >/dev/null || services="$services epmd.service epmd.socket"
    forbid_start
    apt_install rabbitmq-server || return
    allow_start
    if command -v systemctl >/dev/null; then
        # shellcheck disable=SC2086 # several names
        as_root systemctl --quiet disable $services 2>/dev/null ||
            say "At the next boot these services will start: $services"
    fi
}

forbid_start() {
    [ -e "$policy" ] && return
    trap allow_start EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # 101: "action forbidden by policy"
    as_root sh -c "cat >$policy && chmod 755 $policy" <<'POLICY'
#!/bin/sh
# Temporary, while rabbitmq-server is being installed; safe to remove.
case " $* " in *" rabbitmq-server"* | *" epmd"*) exit 101 ;; esac
POLICY
}

allow_start() {
    if grep -qs "while rabbitmq-server is being installed" "$policy"; then
        as_root rm -f "$policy"
    fi
    trap - EXIT HUP INT TERM
}

require_python
make_venv
[ "${1:-}" = venv ] || require_rabbitmq
