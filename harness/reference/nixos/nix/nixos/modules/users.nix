# Users and groups (nixpkgs nixos/modules/config/users-groups.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.users;
  maybe = t: mkOption { type = types.nullOr t; default = null; };
  flag = mkOption { type = types.bool; default = false; };
  shellOf = shell:
    if shell == null then "/run/current-system/sw/bin/bash"
    else if lib.isString shell then shell
    # As NixOS does, so that the shell's path survives updates.
    else "/run/current-system/sw/bin/${shell.pname}";
in
{
  options.users = {
    mutableUsers = mkOption { type = types.bool; default = true; };
    users = mkOption {
      default = { };
      type = types.attrsOf (types.submodule (name: {
        name = mkOption { type = types.str; default = name; };
        description = mkOption { type = types.str; default = ""; };
        isNormalUser = flag;
        isSystemUser = flag;
        uid = maybe types.int;
        group = mkOption { type = types.str; default = ""; };
        extraGroups = mkOption { type = types.listOf types.str; default = [ ]; };
        home = maybe types.str;
        createHome = flag;
        shell = maybe (types.either types.package types.str);
        linger = flag;
        hashedPassword = maybe types.str;
        packages = mkOption { type = types.listOf types.package; default = [ ]; };
        openssh.authorizedKeys.keys = mkOption { type = types.listOf types.str; default = [ ]; };
      }));
    };
    groups = mkOption {
      default = { };
      type = types.attrsOf (types.submodule (name: {
        name = mkOption { type = types.str; default = name; };
        gid = maybe types.int;
        members = mkOption { type = types.listOf types.str; default = [ ]; };
      }));
    };
  };

  config = {
    users.users.root = {
      uid = 0;
      group = "root";
      home = "/root";
      description = "System administrator";
    };
    users.groups.root.gid = 0;
    users.groups.users.gid = 100;

    system.build.users = lib.mapAttrs
      (_: u: {
        inherit (u) name description isNormalUser uid extraGroups linger hashedPassword;
        group = if u.group != "" then u.group else "users";
        home =
          if u.home != null then u.home
          else if u.isNormalUser then "/home/${u.name}" else "/var/empty";
        createHome = u.createHome || u.isNormalUser;
        shell =
          if u.shell == null && u.isSystemUser then "/usr/sbin/nologin" else shellOf u.shell;
      })
      cfg.users;
    system.build.groups = lib.mapAttrs (_: g: { inherit (g) gid members; }) cfg.groups;

    environment.systemPackages = lib.concatMap (u: u.packages) (lib.attrValues cfg.users);
    environment.etc = lib.mapAttrs'
      (name: u: lib.nameValuePair "ssh/authorized_keys.d/${name}" {
        text = lib.concatMapStrings (k: "${k}\n") u.openssh.authorizedKeys.keys;
      })
      (lib.filterAttrs (_: u: u.openssh.authorizedKeys.keys != [ ]) cfg.users);

    assertions = lib.mapAttrsToList
      (name: u: {
        assertion = name == "root" || u.isNormalUser != u.isSystemUser;
        message = "Exactly one of users.users.${name}.isSystemUser and users.users.${name}.isNormalUser must be set.";
      })
      cfg.users;
  };
}
