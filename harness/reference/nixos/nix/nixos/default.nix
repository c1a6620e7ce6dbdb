# What <nixpkgs/nixos> is: `nix-build '<nixpkgs/nixos>' -A system` (nixpkgs nixos/default.nix).
{ configuration ? import ./from-environment.nix }:
let eval = import ./lib/eval-config.nix { modules = [ configuration ]; };
in {
  inherit (eval) pkgs config;
  system = eval.config.system.build.toplevel;
}
