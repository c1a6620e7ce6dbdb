# Everything that the binary cache offers.
let
  pkgs = import ./pkgs.nix { };
  isDerivation = v: builtins.isAttrs v && v.type or null == "derivation";
  named = builtins.filter isDerivation
    (builtins.attrValues (removeAttrs pkgs [ "small-files" ]));
in
named ++ [ (pkgs.systemdRevision 2) ]
