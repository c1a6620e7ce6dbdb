# shellcheck shell=sh disable=SC2154
# Start a session as lab itself would. UNIT USER TMUX-DIRECTORY NAME COMMAND-OR-EMPTY
unit=$1 user=$2 tmpdir=$3 session=$4 command=$5
account "$user"
bash=$(command -v bash) || die "no bash"
socket=$tmpdir/tmux-$uid/default

# A running server forks the session, wherever the client lives. The first session
# starts the server, which must then live where lab would have started it.
if ! tmux -S "$socket" list-sessions >/dev/null 2>&1 && [ -n "$unit" ]; then
    group=$(systemctl show --value -p ControlGroup "$unit")
    [ -n "$group" ] || die "$unit has no cgroup: is it running?"
    echo $$ >"/sys/fs/cgroup$group/cgroup.procs" || die "cannot join $group"
fi
set -- "$bash"
if [ -n "$command" ]; then set -- "$bash" -c "$command"; fi
cd "$home" 2>/dev/null || cd /
section session
as_user env -i HOME="$home" USER="$user" LOGNAME="$user" SHELL="$bash" PATH="$PATH" \
    LANG=C.UTF-8 TERM=screen-256color TMUX_TMPDIR="$tmpdir" \
    tmux -u new-session -d -P -F '#{pid} #{pane_pid} #{pane_tty}' -s "$session" \
    -x 200 -y 50 -- "$@" || die "tmux refused"
section end
