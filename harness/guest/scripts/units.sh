# shellcheck shell=sh
# Units that failed, and what systemd thinks of the whole. No arguments.
section failed
systemctl list-units --failed --plain --no-legend --no-pager
section state
systemctl is-system-running || :
section end
