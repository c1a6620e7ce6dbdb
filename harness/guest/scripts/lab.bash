# shellcheck shell=bash disable=SC2154
# All that "lab keeps its sessions" is decided by, in one go. UNIT USER PORT TMUX-DIRECTORY
unit=$1 port=$3
account "$2"
socket=$4/tmux-$uid/default

# Lab and tmux think about their answers while systemctl, the slowest, is asked.
if { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null; then
    answers=yes
    printf 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
fi
# The session's name comes last, because it may contain spaces; no tabs, because tmux
# makes them underscores for a client whose locale is not UTF-8.
exec 4< <(
    tmux -S "$socket" list-panes -a -F \
        '#{pid} #{pane_pid} #{pane_dead} #{session_created} #{pane_tty} #{session_name}' 2>&1
    echo $?
)

section unit
properties=$(systemctl show "$unit" -p LoadState,ActiveState,SubState,Result,MainPID \
    -p NRestarts,InvocationID,ControlGroup,KillMode,Type,Restart,RestartUSec,User \
    -p Delegate,OOMPolicy,ExecStart,ExecMainStartTimestampMonotonic,TasksCurrent \
    -p ActiveEnterTimestampMonotonic,NeedDaemonReload,FragmentPath,TimeoutStopUSec)
printf '%s\n' "$properties"
pids=() group=
while IFS='=' read -r key value; do
    case $key=$value in
        MainPID=0) ;;
        MainPID=*) pids+=("$value") ;;
        ControlGroup=*) group=$value ;;
    esac
done <<<"$properties"

section tmux
mapfile -t panes <&4
printf '%s\n' "${panes[@]}"
for line in "${panes[@]}"; do
    read -r server pane dead _ <<<"$line"
    if [[ $dead == [01] ]]; then pids+=("$pane") last=$server; fi
done
if [[ -n ${last-} ]]; then pids+=("$last"); fi

# The user's own systemd, and not the (sd-pam) beside it.
section manager
cgroup=/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service/init.scope
if [[ -r $cgroup/cgroup.procs ]]; then
    while read -r pid; do
        read -r name <"/proc/$pid/comm"
        if [[ $name == systemd ]]; then printf '%s\n' "$pid"; pids+=("$pid"); fi
    done <"$cgroup/cgroup.procs"
fi 2>/dev/null

# As `grep -H` would print it, without a process.
show() {
    [[ -r $1 ]] || return
    while read -r line; do printf '%s:%s\n' "$1" "$line"; done <"$1"
}
section files
exes=(/dev/null)
for pid in "${pids[@]}"; do
    show "/proc/$pid/stat"
    show "/proc/$pid/cgroup"
    exes+=("/proc/$pid/exe")
done 2>/dev/null
if [[ -n $group ]]; then
    show "/sys/fs/cgroup$group/cgroup.procs"
    show "/sys/fs/cgroup$group/cgroup.subtree_control"
    show "/sys/fs/cgroup$group/memory.events"
fi
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
if [[ -n ${answers-} ]]; then
    SECONDS=0
    while IFS= read -r -t 5 line <&3 || [[ -n $line ]]; do
        printf '%s\n' "$line"
        if ((SECONDS > 10)); then break; fi
    done
fi
section end
