# shellcheck shell=sh
# Wait for the end of a job. NAME PID DIRECTORY
directory=$3/$1
# `tail` looks whether the process lives without starting one of its own each time.
if [ -n "$2" ]; then tail --pid="$2" -s 0.1 -f /dev/null; fi
section ended
if [ -r "$directory/ended" ]; then
    read -r line <"$directory/ended"
    printf '%s\n' "$line"
fi
section output
if [ -r "$directory/output" ]; then cat "$directory/output"; fi
section end
