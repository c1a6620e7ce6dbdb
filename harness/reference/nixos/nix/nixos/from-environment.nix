# The machine's configuration: -I nixos-config=FILE, else /etc/nixos/configuration.nix.
let
  found = builtins.tryEval <nixos-config>;
in
if found.success then found.value else /etc/nixos/configuration.nix
