# shellcheck shell=sh disable=SC2034
# Before every script: the guest agent's own PATH is bare and its locale unknown.
PATH=/run/current-system/sw/bin:/run/wrappers/bin:/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin
LC_ALL=C
QUOTING_STYLE=literal
export PATH LC_ALL QUOTING_STYLE

section() { printf '\036%s\n' "$1"; }

# die TEXT: the question cannot be answered here.
die() {
    printf '%s\n' "$1" >&2
    exit 3
}

# account USER: sets $account, its $uid and $home, without a process where /etc/passwd
# knows the user.
account() {
    account=$1 uid='' home=''
    while IFS=: read -r name _ number _ _ directory _; do
        if [ "$name" = "$1" ]; then uid=$number home=$directory; fi
    done </etc/passwd
    if [ -z "$uid" ]; then
        uid=$(id -u "$1") || die "no user $1"
        home=$(getent passwd "$1" | cut -d: -f6)
    fi
}

# as_user COMMAND…: runs it as the user that `account` was asked about.
as_user() {
    while read -r key mine _; do
        if [ "$key" = Uid: ] && [ "$mine" != "$uid" ]; then
            set -- runuser -u "$account" -- "$@"
        fi
    done </proc/self/status
    "$@"
}

# Where NixOS keeps NIX_PATH and the like for everybody who logs in.
login_environment() {
    if [ -r /etc/set-environment ]; then
        # shellcheck source=/dev/null
        . /etc/set-environment
    fi
}
