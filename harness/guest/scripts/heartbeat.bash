# shellcheck shell=bash
# Runs in a session for as long as that lives: a beat every 0.1 s, and no process is
# ever started for one. LOG
log=$1
mkfifo "$log.$$" && exec 3<>"$log.$$" 4>>"$log" && rm -f "$log.$$" || exit 3
n=0
while :; do
    n=$((n + 1))
    read -r uptime _ </proc/uptime
    printf '%d %s %d\n' "$n" "$uptime" "$$" >&4
    # Nobody ever writes there: this is a pause.
    read -r -t 0.1 _ <&3
done
