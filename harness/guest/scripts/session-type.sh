# shellcheck shell=sh disable=SC2154
# Type into a session, or look at it. USER TMUX-DIRECTORY NAME TEXT ENTER(1|0) AWAIT TENTHS
# With AWAIT, look until that text stands on the screen twice, for so many tenths of a
# second at most: once echoed by the terminal, once answered by the program.
account "$1"
socket=$2/tmux-$uid/default
target="=$3:"
if [ -n "$4" ]; then
    tmux -S "$socket" send-keys -t "$target" -l -- "$4" || die "no session $3"
fi
if [ "$5" = 1 ]; then
    tmux -S "$socket" send-keys -t "$target" Enter || die "no session $3"
fi
tenths=$7
while :; do
    screen=$(tmux -S "$socket" capture-pane -p -J -t "$target") || die "no session $3"
    rest=${screen#*"$6"}
    case $rest in *"$6"*) break ;; esac
    tenths=$((tenths - 1))
    [ "$tenths" -gt 0 ] || break
    sleep 0.1
done
section screen
printf '%s\n' "$screen"
section end
