# sshd, guest agent, serial console
# (nixpkgs nixos/modules/services/networking/ssh/sshd.nix, virtualisation/qemu-guest-agent.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption types;
  ssh = config.services.openssh;
in
{
  options.services = {
    openssh = {
      enable = mkEnableOption "the OpenSSH secure shell daemon";
      openFirewall = mkOption { type = types.bool; default = true; };
      ports = mkOption { type = types.listOf types.port; default = [ 22 ]; };
      settings = mkOption { type = types.attrsOf types.unitValue; default = { }; };
    };
    qemuGuest.enable = mkEnableOption "the qemu guest agent";
  };

  config = {
    networking.firewall.allowedTCPPorts = mkIf (ssh.enable && ssh.openFirewall) ssh.ports;
    services.openssh.settings = lib.mapAttrs (_: lib.mkDefault) {
      PermitRootLogin = "prohibit-password";
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      UsePAM = true;
      X11Forwarding = false;
      UseDns = false;
    };
    environment.etc."ssh/sshd_config" = mkIf ssh.enable {
      text = lib.concatMapStrings (p: "Port ${toString p}\n") ssh.ports
        + lib.concatStringsSep "" (lib.mapAttrsToList
        (k: v: "${k} ${if lib.isBool v then (if v then "yes" else "no") else toString v}\n")
        ssh.settings)
        + ''
        AuthorizedKeysFile %h/.ssh/authorized_keys /etc/ssh/authorized_keys.d/%u
        HostKey /etc/ssh/ssh_host_ed25519_key
        Subsystem sftp /usr/lib/openssh/sftp-server
      '';
    };
    systemd.services.sshd = mkIf ssh.enable {
      description = "SSH Daemon";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      aliases = [ "ssh.service" ];
      stopIfChanged = false;
      restartTriggers = [ (builtins.hashString "sha256" config.environment.etc."ssh/sshd_config".text) ];
      preStart = ''
        if ! [ -s /etc/ssh/ssh_host_ed25519_key ]; then
          /usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
        fi
      '';
      serviceConfig = {
        ExecStart = "/usr/sbin/sshd -D -f /etc/ssh/sshd_config";
        Restart = "always";
        KillMode = "process";
        Type = "notify";
        RuntimeDirectory = "sshd";
        RuntimeDirectoryMode = "0755";
      };
    };
    systemd.services.qemu-guest-agent = mkIf config.services.qemuGuest.enable {
      description = "Run the QEMU Guest Agent";
      # Wanted by the device, by way of Debian's udev rule, as NixOS' own rule has it.
      unitConfig = {
        BindsTo = "dev-virtio\\x2dports-org.qemu.guest_agent.0.device";
        After = "dev-virtio\\x2dports-org.qemu.guest_agent.0.device";
        IgnoreOnIsolate = true;
      };
      serviceConfig = {
        RuntimeDirectory = "qemu-ga";
        ExecStart = "/usr/sbin/qemu-ga --statedir /run/qemu-ga";
        Restart = "always";
        RestartSec = 0;
        # It logs every request, fifty a second while a command is waited for.
        LogLevelMax = "notice";
      };
    };
    # systemd-getty-generator starts it where console= names a serial line.
    systemd.services."serial-getty@".restartIfChanged = false;
  };
}
