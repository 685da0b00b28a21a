#!/bin/sh
# Makes a checkout ready to run, with nothing there but python3: .venv from the lock file, and RabbitMQ's programs
# from the distribution's packages. What is done already is not done again.
#
#   bootstrap.sh            both
#   bootstrap.sh venv       only .venv
#   bootstrap.sh rabbitmq   only RabbitMQ
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

# --- Packages ---------------------------------------------------------------------------------------------------

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
install_package() {
    can_install || return
    say "Installing $1 from the distribution's packages (once; a minute or so)"
    apt_get install -y --no-install-recommends "$1" && return
    say "Refreshing the package lists"
    apt_get update && apt_get install -y --no-install-recommends "$1" && return
    say "$complaint"
    return 1
}

# --- Python -----------------------------------------------------------------------------------------------------

require_python() {
    command -v python3 >/dev/null || give_up "python3 is missing: install Python 3.11 or newer."
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        give_up "Python 3.11 or newer is needed, and this is $(python3 --version)."
}

# Debian keeps what makes virtual environments in a package of its own.
require_venv_module() {
    python3 -c 'import ensurepip, venv' 2>/dev/null && return
    { install_package python3-venv && python3 -c 'import ensurepip, venv'; } ||
        give_up "python3 cannot make virtual environments: install python3-venv (apt-get install python3-venv)."
}

# An environment knows where it lies and which Python made it, so a copied one is made anew.
origin() {
    pwd -P
    python3 -c 'import sys; print(sys.base_prefix, sys.version.replace("\n", " "))'
}

contents() {
    cksum requirements-dev.lock pyproject.toml
}

require_venv() {
    origin=$(origin)
    contents=$(contents)
    made_from=$(cat "$stamp" 2>/dev/null) || made_from=
    [ "$made_from" = "$origin $contents" ] && return
    require_venv_module
    say "Making .venv from requirements-dev.lock (once; a minute or so)"
    case $made_from in
        "" | "$origin "*) python3 -m venv .venv ;;
        *) python3 -m venv --clear .venv ;;
    esac
    rm -f "$stamp"
    pip_install --require-hashes -r requirements-dev.lock
    pip_install --no-deps --no-build-isolation -e .
    printf '%s\n' "$origin $contents" >"$stamp"
}

pip_install() {
    .venv/bin/python -m pip --disable-pip-version-check install --quiet "$@"
}

# --- RabbitMQ ---------------------------------------------------------------------------------------------------

require_rabbitmq() {
    if [ -n "${RABBITMQ_HOME:-}" ]; then
        [ -x "$RABBITMQ_HOME/sbin/rabbitmq-server" ] || give_up "RABBITMQ_HOME holds no sbin/rabbitmq-server."
    elif ! [ -x "$packaged_server" ]; then
        { install_rabbitmq && [ -x "$packaged_server" ]; } ||
            give_up "RabbitMQ is missing: install it (apt-get install rabbitmq-server), or set RABBITMQ_HOME."
    fi
}

# The package is wanted for its programs only: its service is not started, now or at the next boot. What runs
# here already is left alone, and so is the machine's own policy about services, if it has one.
install_rabbitmq() {
    can_install || return
    services="rabbitmq-server.service"
    command -v epmd >/dev/null || services="$services epmd.service epmd.socket"
    forbid_start || return
    install_package rabbitmq-server || return
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
    # 101 is "action forbidden by policy".
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

what=${1:-all}
case $what in
    all | venv | rabbitmq) ;;
    *) give_up "usage: bootstrap.sh [venv|rabbitmq]" ;;
esac
if [ "$what" != rabbitmq ]; then
    require_python
    require_venv
fi
if [ "$what" != venv ]; then
    require_rabbitmq
fi
