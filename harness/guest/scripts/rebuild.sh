# shellcheck shell=sh
# Run nixos-rebuild as a login shell of root would.
# CGROUP-OR-EMPTY FILE-OR-EMPTY MODULE ARGUMENT...
# Started as a job, and prints what nixos-rebuild prints instead of sections.
cgroup=$1
file=$2
module=$3
shift 3
if [ -n "$cgroup" ]; then
    echo $$ >"/sys/fs/cgroup$cgroup/cgroup.procs" || exit 3
fi
login_environment
if [ -n "$file" ]; then
    mkdir -p "${file%/*}"
    printf '%s\n' "$module" >"$file"
    set -- "$@" -I "nixos-config=$file"
fi
exec nixos-rebuild "$@"
