# What <nixpkgs> is in this guest: the package set.
import ./pkgs.nix
