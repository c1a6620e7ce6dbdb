# lab, with the unit invariants of the real one's lab-v0
# (Cloonar/coding-lab docs/reference/lab-v0/default.nix, nix/module.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption types;
  cfg = config.services.lab;
in
{
  options.services.lab = {
    enable = mkEnableOption "lab";
    revision = mkOption {
      type = types.int;
      default = 1;
      description = "Another number makes another build of lab, with a store path of its own.";
    };
    package = mkOption { type = types.package; default = pkgs.lab { inherit (cfg) revision; }; };
    user = mkOption { type = types.str; default = "lab"; };
    port = mkOption { type = types.port; default = 8080; };
    masterKeyFile = mkOption { type = types.nullOr types.str; default = null; };
  };

  config = mkIf cfg.enable {
    users.users.${cfg.user} = {
      isNormalUser = true;
      description = "lab";
      group = cfg.user;
      uid = lib.mkDefault 1000;
      linger = true;
      shell = pkgs.bash;
    };
    users.groups.${cfg.user}.gid = lib.mkDefault 1000;
    environment.systemPackages = [ pkgs.tmux ];
    networking.firewall.allowedTCPPorts = [ cfg.port ];

    systemd.services.lab = {
      description = "lab: long-lived sessions in tmux";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      path = [ pkgs.tmux pkgs.bash pkgs.procps ];
      environment = {
        LAB_PORT = toString cfg.port;
        HOME = config.system.build.users.${cfg.user}.home;
        SHELL = "${pkgs.bash}/bin/bash";
        LANG = "C.UTF-8";
        LAB_MASTER_KEY_FILE = cfg.masterKeyFile;
      };
      serviceConfig = {
        Type = "simple";
        User = cfg.user;
        WorkingDirectory = "~";
        ExecStart = "${cfg.package}/bin/lab -ISB ${cfg.package}/main.py";
        Restart = "on-failure";
        RestartSec = 5;
        # Load-bearing: the tmux server with all sessions is in this control group.
        KillMode = "process";
      };
    };
  };
}
