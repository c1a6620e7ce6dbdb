# Evaluate a system's modules (nixpkgs nixos/lib/eval-config.nix).
{ modules, pkgs ? import ../../pkgs.nix { } }:
let
  inherit (pkgs) lib;
  evaluated = lib.evalModules {
    modules = import ../modules/module-list.nix ++ modules;
    specialArgs = { inherit pkgs; modulesPath = toString ../modules; };
  };
in
{ inherit pkgs; inherit (evaluated) config; }
