# The top-level derivation and what belongs to no other module
# (nixpkgs nixos/modules/system/activation/top-level.nix, config/system-path.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.system;
in
{
  options = {
    system.stateVersion = mkOption { type = types.str; default = "25.11"; };
    system.nixos.version = mkOption { type = types.str; default = "25.11.reference"; };
    system.name = mkOption { type = types.str; default = config.networking.hostName; };
    system.activationScripts = mkOption {
      type = types.attrsOf (types.either types.lines
        (types.submodule {
          text = mkOption { type = types.lines; };
          deps = mkOption { type = types.listOf types.str; default = [ ]; };
        }));
      default = { };
    };
    system.extraDependencies = mkOption { type = types.listOf types.package; default = [ ]; };
    system.build = mkOption { type = types.attrsOf types.raw; default = { }; };
    system.path = mkOption { type = types.raw; default = null; };
    environment.systemPackages = mkOption { type = types.listOf types.package; default = [ ]; };
    environment.variables = mkOption { type = types.attrsOf types.scalar; default = { }; };
    time.timeZone = mkOption { type = types.nullOr types.str; default = "UTC"; };
    nixpkgs.hostPlatform = mkOption { type = types.str; default = "x86_64-linux"; };
    assertions = mkOption { type = types.listOf types.raw; default = [ ]; };
    warnings = mkOption { type = types.listOf types.str; default = [ ]; };
  };

  config = {
    environment.systemPackages = [
      (pkgs.writeShellScriptBin "nixos-rebuild" (lib.readFile ../../build-support/nixos-rebuild.sh))
      (pkgs.writeShellScriptBin "nixos-version" (lib.readFile ../../build-support/nixos-version.sh))
      pkgs.bash
      pkgs.coreutils
      pkgs.findutils
      pkgs.gnugrep
      pkgs.gnused
      pkgs.procps
    ];
    environment.variables = {
      EDITOR = lib.mkDefault "vi";
      NIX_PATH = lib.mkDefault (lib.concatStringsSep ":" config.nix.nixPath);
    };

    system.path = pkgs.buildEnv { name = "system-path"; paths = config.environment.systemPackages; };

    system.build.toplevel =
      let
        failed = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
        kernel = config.boot.kernelPackages.kernel;
        snippets = lib.mapAttrs
          (name: script: "${pkgs.writeShellScript "activate-${name}"
            (if lib.isString script then script else script.text)}")
          cfg.activationScripts;
        system = pkgs.pythonModule "nixos-system-${cfg.name}-${cfg.nixos.version}" "toplevel" {
          python = "${pkgs.python3}/bin/python3";
          pythonPath = [ "${pkgs.nixguest}" "${pkgs.jeepney}" ];
          init = lib.replaceStrings [ "@shell@" "@path@" ]
            [ "${pkgs.bash}/bin/bash" "${config.system.path}/bin:/usr/sbin:/usr/bin" ]
            (lib.readFile ../../build-support/stage-2.sh);
          links = {
            kernel = "${kernel}/bzImage";
            kernel-modules = "${kernel}";
            initrd = "${config.system.build.initialRamdisk}/initrd";
            etc = "${config.system.build.etc}/etc";
            sw = "${config.system.path}";
            systemd = "${config.systemd.package}";
          };
          texts = {
            kernel-params = lib.concatStringsSep " " config.boot.kernelParams;
            nixos-version = cfg.nixos.version;
            system = "x86_64-linux";
            init-interface-version = "systemd 2";
            configuration-name = "";
            extra-dependencies = lib.concatMapStrings (p: "${p}\n") cfg.extraDependencies;
            "boot.json" = lib.toJSON {
              inherit (config.boot.loader.grub) device configurationLimit extraConfig default;
              inherit (config.boot.loader) timeout;
            };
            "activation.json" = lib.toJSON {
              inherit (config.networking) hostName;
              activationScripts = snippets;
              inherit (config.system.build) users groups secrets;
            };
          };
        };
        warned = lib.foldl' (v: w: builtins.trace "warning: ${w}" v) system config.warnings;
      in
      if failed == [ ] then warned
      else throw "\nFailed assertions:\n${lib.concatMapStrings (m: "- ${m}\n") failed}";
  };
}
