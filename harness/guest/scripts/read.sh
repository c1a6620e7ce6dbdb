# shellcheck shell=sh
# Read every regular file of the closures of some store paths, caches dropped first.
# OUT-DIRECTORY STORE-PATH...
directory=$1
shift
mkdir -p "$directory" || die "cannot make $directory"
cd "$directory" || die "cannot enter $directory"
: >errors

# One path that is gone or unknown must not hide the others.
for path in "$@"; do
    shift
    if [ -e "$path" ] || [ -L "$path" ]; then
        set -- "$@" "$path"
    else
        # In a program's words, so that it is counted like the rest.
        stat -- "$path" 2>>errors >/dev/null
    fi
done
section unknown
if ! nix-store -qR "$@" >closure 2>query; then
    # Some path is there but not valid: what a build has not finished yet, or what the
    # database forgot. It has no closure, and a build may take it away any time.
    nix-store --check-validity --print-invalid "$@" >invalid 2>query
    cat invalid
    for path in "$@"; do
        shift
        while read -r other; do
            if [ "$path" = "$other" ]; then continue 2; fi
        done <invalid
        set -- "$@" "$path"
    done
    : >closure
    if [ $# -gt 0 ]; then nix-store -qR "$@" >closure 2>>query; fi
    grep -v '^warning: ' query >>errors
fi
sort -u closure >paths

sync
echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
section counts
tr '\n' '\0' <paths | xargs -0 -r sh -c 'exec find "$@" -type f -printf "%s %p\0"' \
    find >files 2>>errors
cut -z -d ' ' -f 2- files >names
awk 'END { print "paths=" NR }' paths
cut -z -d ' ' -f 1 files | tr '\0' '\n' |
    awk '{ bytes += $1 } END { printf "files=%d\nexpected=%.0f\n", NR, bytes }'
# The kernel counts what a shell and the children that it waited for have read, their
# own program files included. Any other way to count costs more than the reading: under
# emulation a pipe to `wc` takes three times as long, and `cat` maps a buffer per file.
counted() {
    while IFS=': ' read -r key value; do
        if [ "$key" = rchar ]; then rchar=$value; fi
    done <"/proc/$$/io"
}
counted
before=$rchar
xargs -0 -r -n 500 -P 2 head -q -c 9223372036854775807 -- <names >/dev/null 2>>errors
counted
printf 'bytes=%s\n' $((rchar - before))
awk 'END { print "errors=" NR }' errors
section errors
head -n 1000 errors
section end
