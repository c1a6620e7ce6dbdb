# shellcheck shell=sh
# Inodes and blocks of the file systems that hold some directories. DIRECTORY...
section uptime
read -r uptime _ </proc/uptime
printf '%s\n' "$uptime"
section filesystems
for directory in "$@"; do
    shift
    if [ -d "$directory" ]; then set -- "$@" "$directory"; fi
done
stat -f -c '%c %d %S %b %f %T %n' "$@"
section end
