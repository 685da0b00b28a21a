# Read by the scripts beside it: what they say, and how they install what is lacking from the distribution's packages.

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
# Nothing is removed for it: a mail server that the machine has stays.
install_package() {
    can_install || return
    say "Installing $1 from the distribution's packages (once; a minute or so)"
    apt_get install -y --no-remove --no-install-recommends "$1" && return
    say "Refreshing the package lists"
    apt_get update && apt_get install -y --no-remove --no-install-recommends "$1" && return
    say "$complaint"
    return 1
}
