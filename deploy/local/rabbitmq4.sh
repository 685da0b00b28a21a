#!/bin/sh
# Makes .cache/rabbitmq4: a root folder that holds Debian 13's RabbitMQ 4.0 with Erlang 27 and what they need, for
# machines whose own packages are older. No container engine is needed. What is there already is left as it is.
#
# The packages come from the mirror that this machine's apt uses, and their signatures are checked. DEBIAN_MIRROR
# names another one.
set -eu
cd "$(dirname "$0")/../.."
. deploy/local/packages.sh

suite=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg
root=.cache/rabbitmq4
making=$root.making
log=$root.log

is_made() {
    [ -x "$root/usr/lib/rabbitmq/bin/rabbitmq-server" ]
}

require_tools() {
    [ "$(id -u)" = 0 ] || give_up "Only root can make a root folder and start RabbitMQ in it: run this as root."
    for tool in unshare flock; do
        command -v "$tool" >/dev/null || give_up "$tool is missing: install util-linux."
    done
    command -v debootstrap >/dev/null || install_package debootstrap ||
        give_up "debootstrap is missing: install it (apt-get install debootstrap)."
    [ -r "$keys" ] || give_up "Debian's keys are missing: install debian-archive-keyring."
}

# What this machine's own release is fetched from. Debian's cloud images name a file there, one mirror a line.
mirror() {
    release=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    uri=$(apt-get indextargets --format '$(REPO_URI)' \
        "Created-By: Packages" "Release: $release" "Component: main" | sed -n 1p)
    case $uri in
        mirror+file:*) sed -n '/^[a-z]/{s/[[:space:]].*//;p;q}' "${uri#mirror+file:}" ;;
        *) printf '%s' "$uri" ;;
    esac
}

# In a mount namespace of its own: what debootstrap mounts inside is gone when it ends, however that comes about, so
# that removing a half-made folder never reaches into the machine's /proc or /dev.
make_root() {
    rm -rf --one-file-system "$root" "$making"
    LC_ALL=C.UTF-8 unshare --mount --propagation private \
        debootstrap --force-check-gpg --keyring="$keys" --variant=minbase --include=rabbitmq-server \
        "$suite" "$making" "$1" >"$log" 2>&1 || return
    rm -f "$making"/var/cache/apt/archives/*.deb
    mv -T "$making" "$root"
}

is_made && exit
require_tools
mkdir -p .cache
exec 9>"$root.lock"
flock 9
is_made && exit # somebody else made it meanwhile
mirror=${DEBIAN_MIRROR:-$(mirror)}
[ -n "$mirror" ] || give_up "apt's sources name no mirror: set DEBIAN_MIRROR to the address of one that has $suite."
say "Making $root from Debian's packages (once; a minute or so)"
make_root "$mirror" || {
    grep '^[EW]: ' "$log" >&2 || tail -n 3 "$log" >&2
    give_up "$root could not be made (all of it: $log). If apt's mirror has no $suite, set DEBIAN_MIRROR."
}
