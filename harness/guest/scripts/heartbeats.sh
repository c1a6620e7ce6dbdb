# shellcheck shell=sh disable=SC2154
# What a heartbeat has written so far, and the time now. LOG
section beats
[ ! -e "$1" ] || cat "$1"
section now
read -r uptime _ </proc/uptime
printf '%s\n' "$uptime"
section end
