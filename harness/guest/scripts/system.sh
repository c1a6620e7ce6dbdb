# shellcheck shell=sh disable=SC2154
# What booted, what is current, what the profile holds. No arguments.
read -r boot_id </proc/sys/kernel/random/boot_id
read -r release </proc/sys/kernel/osrelease
read -r cmdline </proc/cmdline
read -r uptime _ </proc/uptime

section kernel
printf 'boot_id=%s\nrelease=%s\nuptime=%s\ncmdline=%s\n' \
    "$boot_id" "$release" "$uptime" "$cmdline"
if [ -d "/run/booted-system/kernel-modules/lib/modules/$release" ]; then
    echo modules=yes
fi

set --
# Unreadable in a container, and then it would have no line among the targets.
if [ -e /proc/1/exe ]; then set -- /proc/1/exe; fi
for system in /run/booted-system /run/current-system /nix/var/nix/profiles/system; do
    for part in '' /kernel /initrd /init /kernel-modules /systemd; do
        if [ -e "$system$part" ]; then set -- "$@" "$system$part"; fi
    done
    for part in nixos-version kernel-params; do
        value=
        # These files have no newline at their end, so `read` says "no".
        if [ -r "$system/$part" ]; then read -r value <"$system/$part" || :; fi
        section "$system/$part"
        printf '%s\n' "$value"
    done
done
section names
if [ $# -gt 0 ]; then printf '%s\n' "$@"; fi
section targets
if [ $# -gt 0 ]; then readlink -f "$@"; fi

section generations
set -- /nix/var/nix/profiles/system
for link in /nix/var/nix/profiles/system-*-link; do
    if [ -L "$link" ]; then set -- "$@" "$link"; fi
done
if [ -L "$1" ]; then stat -c '%Y %N' "$@"; fi

section leftovers
for list in /run/nixos/*-list; do
    if [ -e "$list" ]; then printf '%s\n' "$list"; fi
done
section end
