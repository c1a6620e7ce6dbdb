# What ties a generation to Debian's user land, the base of this guest: units of the base
# that must not run, and names that the base has elsewhere. docs/reference-guest.md lists
# the differences from NixOS that follow from it.
{ config, lib, pkgs, ... }:
let
  path = "/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin:/usr/local/bin:/usr/sbin:/usr/bin";
in
{
  config = {
    # Programs of the generation come before those of the base, wherever one comes from:
    # a login, ssh with a command (PAM reads /etc/environment), the guest agent.
    environment.variables.PATH = path;

    environment.etc = {
      environment.text = "PATH=${path}\n";
      "os-release".text = ''
        ID=nixos
        NAME=NixOS
        PRETTY_NAME="NixOS ${config.system.nixos.version} (reference guest on Debian 13)"
        VERSION="${config.system.nixos.version}"
        VERSION_ID="25.11"
        VARIANT_ID=reference
        ID_LIKE=debian
      '';
      "NIXOS".text = "";
      "shells".text = "/run/current-system/sw/bin/bash\n/run/current-system/sw/bin/sh\n/bin/sh\n/bin/bash\n";
      "profile.d/nixos.sh".text = lib.concatStringsSep "" (lib.mapAttrsToList
        (k: v: "export ${k}=${lib.escapeShellArg v}\n")
        config.environment.variables);
    };

    # Units of the base that a generation does not want.
    systemd.services = { qemu-guest-agent.environment.PATH = path; } // lib.genAttrs [
      "cloud-init" "cloud-init-local" "cloud-init-main" "cloud-init-network"
      "cloud-config" "cloud-final" "systemd-hwdb-update" "ldconfig"
      "systemd-journal-catalog-update" "systemd-update-done" "systemd-firstboot"
      "systemd-machine-id-commit" "systemd-pcrmachine" "systemd-pcrphase"
      "systemd-pcrphase-sysinit" "systemd-tpm2-setup" "systemd-tpm2-setup-early"
      "systemd-pstore" "systemd-boot-random-seed" "e2scrub_reap"
    ]
      (_: { enable = false; });
    systemd.sockets = lib.genAttrs [ "cloud-init-hotplugd" ] (_: { enable = false; });
  };
}
