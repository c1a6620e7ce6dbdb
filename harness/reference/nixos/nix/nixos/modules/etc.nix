# /etc (nixpkgs nixos/modules/system/etc/etc.nix) and the unit directory in it.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  enabled = lib.filterAttrs (_: f: f.enable) config.environment.etc;
in
{
  options.environment.etc = mkOption {
    default = { };
    type = types.attrsOf (types.submodule (name: {
      enable = mkOption { type = types.bool; default = true; };
      target = mkOption { type = types.str; default = name; };
      text = mkOption { type = types.nullOr types.lines; default = null; };
      source = mkOption { type = types.nullOr types.path; default = null; };
      mode = mkOption { type = types.str; default = "symlink"; };
    }));
  };

  config = {
    system.build.etc = pkgs.pythonModule "etc" "etc_tree" {
      files = lib.mapAttrs'
        (_: f: lib.nameValuePair f.target {
          inherit (f) mode;
          source = if f.source == null then null else "${f.source}";
          text = if f.text == null then "" else f.text;
        })
        enabled;
      units = config.system.build.units;
      upstream = "${pkgs.systemd}/example/systemd/system";
      upstreamUnits = config.systemd.upstreamUnits;
    };
  };
}
