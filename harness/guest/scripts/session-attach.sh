# shellcheck shell=sh disable=SC2154
# Attach a terminal to a session and type. USER TMUX-DIRECTORY NAME TEXT TENTHS
# The terminal is a tmux of its own: its screen shows what a user would see, a refusal
# too. Looks for so many tenths of a second until the text is there twice, or the client
# has ended.
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
# The shell outlives the client: of a pane whose last process has ended, tmux can lose
# the output that the kernel still holds.
ended='attach-session ended with status'
# shellcheck disable=SC2016 # the variables are the shell's in the pane
terminal start-server ';' set-option -g status off ';' \
    new-session -d -s seat -x 200 -y 50 /bin/sh -c \
    'env -u TMUX tmux -S "$1" attach-session -t "$2"; echo "$3 $?"; while read -r _; do :; done' \
    seat "$socket" "$target" "$ended" || die "no terminal"

# Text that is typed before the client reads it would be echoed by the terminal alone.
typed=''
while :; do
    if [ -z "$typed" ] && [ -n "$(tmux -S "$socket" list-clients -t "$target" 2>/dev/null)" ]
    then
        terminal send-keys -t seat -l -- "$text" ';' send-keys -t seat Enter
        typed=yes
    fi
    screen=$(terminal capture-pane -p -J -S - -t seat) || die "the terminal is gone"
    rest=${screen#*"$text"}
    case $rest in *"$text"* | *"$ended"*) break ;; esac
    tenths=$((tenths - 1))
    [ "$tenths" -gt 0 ] || break
    sleep 0.1
done
section screen
printf '%s\n' "$screen"
section end
