# shellcheck shell=sh
# Which store paths are in use, and by what. No arguments.
section links
set --
for link in /run/booted-system /run/current-system /nix/var/nix/profiles/system-*-link; do
    if [ -L "$link" ]; then set -- "$@" "$link"; fi
done
if [ $# -gt 0 ]; then stat -c %N "$@"; fi
path='/nix/store/[0-9a-df-np-sv-z]{32}-[^/ ]+'
section processes
{
    find /proc/[0-9]*/exe /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/fd \
        -maxdepth 1 -type l -printf '%l\n' 2>/dev/null
    cat /proc/[0-9]*/maps 2>/dev/null
} | grep -oE "$path" | sort -u
section deleted
grep -E '/nix/store/.* \(deleted\)$' /proc/[0-9]*/maps 2>/dev/null
find /proc/[0-9]*/exe -maxdepth 0 -lname '/nix/store/* (deleted)' \
    -printf '%p:%l\n' 2>/dev/null
section end
