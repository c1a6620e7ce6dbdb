# What ties a generation to Debian's user land, the base of this guest: units of the base
# that must not run, and names that the base has elsewhere.
# docs/explanation/reference-guest.md lists the differences from NixOS that follow from it.
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

    # Units of the base that a generation does not want: first boot and image updates are
    # not its business, and much of the rest costs seconds without KVM for nothing.
    systemd.services = {
      qemu-guest-agent.environment.PATH = path;
      # Cold-plug what this machine consists of, its power button too: a
      # shutdown of the VM presses it. All of sysfs is some 400 events and the modules of everything that
      # the emulated processor and chipset could do.
      systemd-udev-trigger.overrideStrategy = "asDropin";
      systemd-udev-trigger.serviceConfig.ExecStart = [
        ""
        ("-udevadm trigger --type=devices --action=add "
          + lib.concatMapStringsSep " " (n: "--sysname-match=${n}")
          [ "virtio*" "vd*" "eth*" "en*" "vport*" "ttyS0" "rtc0" "LNXPWRBN*" ])
      ];
    } // lib.genAttrs [
      "cloud-config" "cloud-final" "cloud-init" "cloud-init-local" "cloud-init-main"
      "cloud-init-network" "e2scrub_reap" "kmod-static-nodes" "ldconfig"
      "modprobe@configfs" "modprobe@dm_mod" "modprobe@drm" "modprobe@efi_pstore"
      "modprobe@fuse" "modprobe@loop" "systemd-binfmt" "systemd-boot-random-seed"
      "systemd-firstboot" "systemd-hwdb-update" "systemd-journal-catalog-update"
      "systemd-machine-id-commit" "systemd-network-generator"
      "systemd-networkd-persistent-storage" "systemd-pcrmachine" "systemd-pcrphase"
      "systemd-pcrphase-sysinit" "systemd-pstore" "systemd-tpm2-setup"
      "systemd-tpm2-setup-early" "systemd-udev-load-credentials" "systemd-update-done"
      "getty@tty1"
    ]
      (_: { enable = false; });
    systemd.maskedUnits = [
      "dev-hugepages.mount" "proc-sys-fs-binfmt_misc.automount"
      "sys-fs-fuse-connections.mount" "sys-kernel-config.mount" "sys-kernel-debug.mount"
      "sys-kernel-tracing.mount" "systemd-creds.socket" "systemd-journald-audit.socket"
      "systemd-pcrextend.socket" "systemd-pcrlock.socket" "systemd-sysext.socket"
    ];
    # Each generator is a process at every boot and every daemon-reload.
    systemd.generators = lib.genAttrs [
      "cloud-init-generator" "systemd-debug-generator" "systemd-gpt-auto-generator"
      "systemd-hibernate-resume-generator" "systemd-rc-local-generator"
      "systemd-run-generator" "systemd-ssh-generator" "systemd-system-update-generator"
      "systemd-sysv-generator" "systemd-tpm2-generator"
    ]
      (_: "/dev/null");
    # The same for the managers of users, who re-execute themselves at every switch.
    environment.etc."systemd/user-generators/systemd-xdg-autostart-generator".source = "/dev/null";
    environment.etc."systemd/user-environment-generators/30-systemd-environment-d-generator".source = "/dev/null";
    environment.etc."systemd/journald.conf".text = "[Journal]\nStorage=persistent\nAudit=no\nSystemMaxUse=64M\n";
    environment.etc."modprobe.d/nixos.conf".text =
      lib.concatMapStrings (m: "blacklist ${m}\n") config.boot.blacklistedKernelModules;
    systemd.sockets = lib.genAttrs [ "cloud-init-hotplugd" ] (_: { enable = false; });
  };
}
