# shellcheck shell=bash disable=SC2154
# All that "lab keeps its sessions" is decided by, in one go. UNIT USER PORT TMUX-DIRECTORY
unit=$1 port=$3
account "$2"
socket=$4/tmux-$uid/default

section unit
properties=$(systemctl show "$unit" -p LoadState,ActiveState,SubState,Result,MainPID \
    -p NRestarts,InvocationID,ControlGroup,KillMode,Type,Restart,RestartUSec,User \
    -p Delegate,OOMPolicy,ExecStart,ExecMainStartTimestampMonotonic,TasksCurrent \
    -p ActiveEnterTimestampMonotonic,NeedDaemonReload,FragmentPath,TimeoutStopUSec)
printf '%s\n' "$properties"
main=0 group=
while IFS='=' read -r key value; do
    case $key in
        MainPID) main=$value ;;
        ControlGroup) group=$value ;;
    esac
done <<<"$properties"

# The session's name comes last, because it may contain spaces; no tabs, because tmux
# makes them underscores for a client whose locale is not UTF-8.
section tmux
panes=$(tmux -S "$socket" list-panes -a -F \
    '#{pid} #{pane_pid} #{pane_dead} #{session_created} #{pane_tty} #{session_name}' 2>&1)
printf '%s\n%s\n' "$?" "$panes"

pids=()
if [[ $main != 0 ]]; then pids+=("$main"); fi
while read -r server pane dead _; do
    if [[ $dead == [01] ]]; then pids+=("$pane") last=$server; fi
done <<<"$panes"
if [[ -n ${last-} ]]; then pids+=("$last"); fi

files=(/dev/null) exes=(/dev/null)
for pid in "${pids[@]}"; do
    files+=("/proc/$pid/stat" "/proc/$pid/cgroup")
    exes+=("/proc/$pid/exe")
done
if [[ -n $group ]]; then
    directory=/sys/fs/cgroup$group
    files+=("$directory/cgroup.procs" "$directory/cgroup.subtree_control")
    files+=("$directory/memory.events")
fi
section files
grep -H '' "${files[@]}" 2>/dev/null
section exes
stat -c %N "${exes[@]}" 2>/dev/null

# Listening sockets only; a server that lost its file still shows up here.
section sockets
while read -r _ _ _ flags _ _ _ path; do
    if [[ $flags == 00010000 && $path == *"/tmux-$uid/"* ]]; then
        printf '%s\n' "$path"
    fi
done </proc/net/unix

section uptime
read -r uptime _ </proc/uptime
printf '%s\n' "$uptime"

section http
if { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; then
    printf 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
    SECONDS=0
    while IFS= read -r -t 5 line <&3 || [[ -n $line ]]; do
        printf '%s\n' "$line"
        if ((SECONDS > 10)); then break; fi
    done
fi
section end
