# shellcheck shell=sh
# Which of the files named exist, and the SHA-256 of what they are.
for file in "$@"; do
    shift
    if [ -f "$file" ]; then set -- "$@" "$file"; fi
done
section digests
if [ $# -gt 0 ]; then sha256sum -- "$@"; fi
section end
