# shellcheck shell=sh
# What an option of the host's own configuration evaluates to, as JSON. OPTION
login_environment
section value
nix-instantiate --eval --strict --json -A "config.$1" '<nixpkgs/nixos>' ||
    die "cannot evaluate $1"
section end
