# hosts/dev: what runs on the development machine.
{ config, pkgs, lib, ... }:
{
  imports = [ ./hardware-configuration.nix ./networking.nix ./access.nix ];

  services.openssh.enable = true;
  services.qemuGuest.enable = true;

  # The web service that keeps people's and agents' sessions.
  services.lab.enable = true;
  services.lab.masterKeyFile = config.sops.secrets.lab-master-key.path;

  # Encrypted for this machine's ssh host key, so they can be made once it has one.
  sops.defaultSopsFile = ./secrets.json;
  sops.secrets.lab-master-key = {
    owner = config.services.lab.user;
    restartUnits = [ "lab.service" ];
  };

  users.users.dev = {
    isNormalUser = true;
    uid = 1001;
    description = "Developer";
    extraGroups = [ "sudo" ];
  };

  # Aggressive, and independent of the host that runs this machine. It must not catch up
  # on what it missed: a machine that is restored is days behind.
  nix.gc = {
    automatic = true;
    dates = [ "Sun 04:40" ];
    persistent = false;
    options = "-d";
  };

  # Nix does not wait for a path's data to reach the disk (nix.conf(5)), so a power cut
  # after a build leaves valid paths with empty files, which no second switch mends.
  nix.settings.fsync-store-paths = true;

  # Pulls its configuration; never reboots on its own, which would kill the sessions.
  services.bento = {
    enable = true;
    server = "fleet.cloonar.com";
    dates = "*:0/15";
    reboot.enable = false;
  };

  system.stateVersion = "25.11";
}
