# shellcheck shell=sh disable=SC2154
# Sit down at a session, as a person would, and type. USER TMUX-DIRECTORY NAME TEXT TENTHS
# The person's terminal is a tmux of its own: what stands there is what they would see,
# a refusal too. Looks for so many tenths of a second until the text stands there twice.
account "$1"
socket=$2/tmux-$uid/default
target="=$3" text=$4 tenths=$5
seat=$(mktemp -d) || die "no room for a terminal"

terminal() { as_user env -u TMUX TERM=screen-256color tmux -S "$seat/tmux" -f /dev/null "$@"; }
leave() {
    terminal kill-server 2>/dev/null
    rm -rf "$seat"
}
trap leave EXIT
chown "$uid" "$seat" || die "cannot give $seat away"
terminal start-server ';' set-option -g status off ';' set-option -g remain-on-exit on ';' \
    new-session -d -s seat -x 200 -y 50 \
    env -u TMUX tmux -S "$socket" attach-session -t "$target" || die "no terminal"

# What is typed before somebody reads it would be echoed by the terminal alone.
typed=''
while :; do
    if [ -z "$typed" ] && [ -n "$(tmux -S "$socket" list-clients -t "$target" 2>/dev/null)" ]
    then
        terminal send-keys -t seat -l -- "$text" ';' send-keys -t seat Enter
        typed=yes
    fi
    screen=$(terminal capture-pane -p -J -S - -t seat) || die "the terminal is gone"
    rest=${screen#*"$text"}
    case $rest in *"$text"* | *"Pane is dead"*) break ;; esac
    tenths=$((tenths - 1))
    [ "$tenths" -gt 0 ] || break
    sleep 0.1
done
section screen
printf '%s\n' "$screen"
section end
