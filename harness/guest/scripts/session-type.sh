# shellcheck shell=sh disable=SC2154
# Type into a session, or look at it. USER TMUX-DIRECTORY NAME TEXT ENTER(1|0) AWAIT TENTHS
# With AWAIT, look until that text stands on the screen twice, for so many tenths of a
# second at most: once echoed by the terminal, once answered by the program.
account "$1"
socket=$2/tmux-$uid/default
target="=$3:"
text=$4 enter=$5 awaited=$6 tenths=$7

# Whoever waits for an answer wants to know whether there is one: a session that is gone
# gives none, and its screen is empty.
gone() {
    [ -n "$awaited" ] || die "no session at $target"
    section screen
    section end
    exit 0
}

set --
if [ -n "$text" ]; then set -- send-keys -t "$target" -l -- "$text" ';'; fi
if [ "$enter" = 1 ]; then set -- "$@" send-keys -t "$target" Enter ';'; fi
if [ $# -gt 0 ]; then tmux -S "$socket" "$@" || gone; fi
while :; do
    screen=$(tmux -S "$socket" capture-pane -p -J -t "$target") || gone
    rest=${screen#*"$awaited"}
    case $rest in *"$awaited"*) break ;; esac
    tenths=$((tenths - 1))
    [ "$tenths" -gt 0 ] || break
    sleep 0.1
done
section screen
printf '%s\n' "$screen"
section end
