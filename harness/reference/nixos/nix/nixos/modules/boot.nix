# Kernel, initial RAM disk, file systems, boot loader
# (nixpkgs nixos/modules/system/boot/{kernel,stage-1}.nix, tasks/filesystems.nix,
# boot/loader/grub/grub.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.boot;
  strings = mkOption { type = types.listOf types.str; default = [ ]; };
  kernel = cfg.kernelPackages.kernel;
  early = lib.filterAttrs (_: f: f.neededForBoot) config.fileSystems;
in
{
  options = {
    boot.kernelPackages = mkOption { type = types.raw; default = pkgs.linuxPackages; };
    boot.kernelParams = strings;
    boot.kernelModules = strings;
    boot.blacklistedKernelModules = strings;
    boot.kernel.sysctl = mkOption { type = types.attrsOf types.scalar; default = { }; };
    boot.consoleLogLevel = mkOption { type = types.int; default = 4; };
    boot.tmp.cleanOnBoot = mkOption { type = types.bool; default = false; };
    boot.initrd.availableKernelModules = strings;
    boot.initrd.kernelModules = strings;
    boot.loader.timeout = mkOption { type = types.int; default = 5; };
    boot.loader.grub.enable = mkOption { type = types.bool; default = true; };
    boot.loader.grub.device = mkOption { type = types.str; default = "nodev"; };
    boot.loader.grub.configurationLimit = mkOption { type = types.int; default = 100; };
    boot.loader.grub.default = mkOption {
      type = types.either types.int types.str;
      default = 0;
      apply = toString;
    };
    boot.loader.grub.extraConfig = mkOption { type = types.lines; default = ""; };
    fileSystems = mkOption {
      default = { };
      type = types.attrsOf (types.submodule (name: {
        mountPoint = mkOption { type = types.str; default = name; };
        device = mkOption { type = types.str; };
        fsType = mkOption { type = types.str; default = "ext4"; };
        options = mkOption { type = types.listOf types.str; default = [ "defaults" ]; };
        noCheck = mkOption { type = types.bool; default = false; };
        neededForBoot = mkOption { type = types.bool; default = name == "/" || name == "/nix"; };
      }));
    };
    swapDevices = mkOption { type = types.listOf types.raw; default = [ ]; };
  };

  config = {
    boot.kernelParams = [ "loglevel=${toString cfg.consoleLogLevel}" ];
    boot.initrd.kernelModules = [ "ext4" ];

    assertions = [{
      assertion = config.fileSystems ? "/";
      message = "The ‘fileSystems’ option does not specify your root file system.";
    }];

    system.build.initialRamdisk = pkgs.pythonModule "initrd-linux-${kernel.modDirVersion}" "initrd" {
      busybox = "${pkgs.busybox}";
      kernel = "${kernel}";
      modules = lib.unique (cfg.initrd.availableKernelModules ++ cfg.initrd.kernelModules);
      stage1 = "${../../build-support/stage-1.sh}";
      # "/" sorts before every other mount point.
      fsInfo = lib.concatMapStrings
        (f: "${f.mountPoint} ${f.device} ${f.fsType} ${lib.concatStringsSep "," f.options}\n")
        (lib.attrValues early);
    };

    environment.etc."fstab".text =
      "# This is a generated file.  Do not edit!\n"
      + lib.concatMapStrings
        (f: "${f.device} ${f.mountPoint} ${f.fsType} ${lib.concatStringsSep "," f.options} 0 ${if f.noCheck || f.mountPoint == "/" then "0" else "2"}\n")
        (lib.attrValues config.fileSystems);
    environment.etc."modules-load.d/nixos.conf" = lib.mkIf (cfg.kernelModules != [ ]) {
      text = lib.concatMapStrings (m: "${m}\n") cfg.kernelModules;
    };
    environment.etc."sysctl.d/60-nixos.conf".text = lib.concatStringsSep ""
      (lib.mapAttrsToList (k: v: "${k} = ${toString v}\n") cfg.kernel.sysctl);
    systemd.services.systemd-sysctl.restartTriggers =
      lib.mapAttrsToList (k: v: "${k}=${toString v}") cfg.kernel.sysctl;
  };
}
