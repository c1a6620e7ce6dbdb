# Nix itself and its garbage collector
# (nixpkgs nixos/modules/config/nix.nix, services/misc/nix-gc.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.nix;
  value = v:
    if lib.isBool v then (if v then "true" else "false")
    else if lib.isList v then toString v
    else toString v;
in
{
  options.nix = {
    nixPath = mkOption {
      type = types.listOf types.str;
      default = [
        "nixpkgs=/usr/lib/reference/nixos/nix"
        "nixos-config=/etc/nixos/configuration.nix"
      ];
    };
    settings = mkOption { type = types.attrsOf types.unitValue; default = { }; };
    gc = {
      automatic = mkOption { type = types.bool; default = false; };
      dates = mkOption { type = types.either types.str (types.listOf types.str); default = [ "03:15" ]; };
      options = mkOption { type = types.str; default = ""; };
      randomizedDelaySec = mkOption { type = types.str; default = "0"; };
      persistent = mkOption { type = types.bool; default = true; };
    };
    optimise.automatic = mkOption { type = types.bool; default = false; };
  };

  config = {
    nix.settings = lib.mapAttrs (_: lib.mkDefault) {
      substituters = "file:///var/lib/reference/cache";
      require-sigs = false;
      sandbox = false;
      build-users-group = "";
      max-jobs = 2;
      # For commands without a login shell's environment, above all the guest agent's.
      nix-path = cfg.nixPath;
    };
    environment.etc."nix/nix.conf".text = lib.concatStringsSep ""
      (lib.mapAttrsToList (k: v: "${k} = ${value v}\n") cfg.settings);
    # Exists whether or not it is automatic, as in NixOS.
    systemd.services.nix-gc = {
      description = "Nix Garbage Collector";
      script = "exec /usr/bin/nix-collect-garbage ${cfg.gc.options}";
      serviceConfig.Type = "oneshot";
      startAt = lib.mkIf cfg.gc.automatic cfg.gc.dates;
    };
    systemd.timers.nix-gc = lib.mkIf cfg.gc.automatic {
      timerConfig = {
        RandomizedDelaySec = cfg.gc.randomizedDelaySec;
        Persistent = cfg.gc.persistent;
      };
    };
  };
}
