# shellcheck shell=sh
# Start a script that outlives the question, and whatever restarts the guest agent.
# NAME SCRIPT DIRECTORY
directory=$3/$1
unit=acceptance-$1
mkdir -p "$directory" || die "cannot make $directory"
rm -f "$directory/started" "$directory/ended" "$directory/output"
mkfifo "$directory/started"
# In files, because systemd-run expands dollars in arguments in its own way.
printf '%s\n' "$2" >"$directory/script"
# The child says its PID once somebody listens, so nobody has to look for it.
cat >"$directory/runner" <<'RUNNER'
directory=$1
exec </dev/null >"$directory/output" 2>&1
read -r since _ </proc/uptime
echo "$$ $since" >"$directory/started"
/bin/sh "$directory/script"
status=$?
read -r until _ </proc/uptime
echo "$status $since $until" >"$directory/ended"
RUNNER

if [ -w /run/systemd/system ]; then
    systemd-run --quiet --collect --unit="$unit" --setenv=PATH="$PATH" \
        --setenv=HOME=/root --setenv=USER=root --setenv=LOGNAME=root \
        -- /bin/sh "$directory/runner" "$directory" || die "cannot start $unit"
else
    setsid -f /bin/sh "$directory/runner" "$directory"
fi
read -r pid since <"$directory/started"
section job
printf 'pid=%s\nsince=%s\n' "$pid" "$since"
section end
