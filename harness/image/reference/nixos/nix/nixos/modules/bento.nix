# A pull of the configuration by timer, like bento (rapenne-s/bento, utils/bento.nix):
# takes a changed configuration from a directory, rebuilds, switches, and never reboots
# by itself unless reboot.enable says so.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption types;
  cfg = config.services.bento;
in
{
  options.services.bento = {
    enable = mkEnableOption "pulling the configuration";
    dates = mkOption { type = types.str; default = "*:0/15"; };
    source = mkOption {
      type = types.str;
      default = "/var/bento/incoming";
      description = "Directory whose files are the newest configuration.";
    };
    reboot.enable = mkEnableOption "reboots after a switch that changed the kernel";
  };

  config = mkIf cfg.enable {
    systemd.services.bento-upgrade = {
      description = "Pull and apply the configuration";
      startAt = cfg.dates;
      # The switch that this service runs must not stop the service.
      restartIfChanged = false;
      unitConfig.X-StopOnRemoval = false;
      environment = {
        NIX_PATH = config.environment.variables.NIX_PATH;
        HOME = "/root";
      };
      path = [ pkgs.bash ];
      script = ''
        cd ${lib.escapeShellArg cfg.source} 2>/dev/null || { echo "nothing to pull"; exit 0; }
        state=/var/bento/state
        mkdir -p /var/bento
        new=$(find . -type f -exec sha256sum {} + | sort | sha256sum)
        if [ "$new" = "$(cat "$state" 2>/dev/null)" ]; then
          echo "no update required"
          exit 0
        fi
        cp -RT . /etc/nixos
        /usr/bin/nixos-rebuild switch
        echo "$new" > "$state.tmp"
        mv "$state.tmp" "$state"
        ${lib.optionalString cfg.reboot.enable ''
          if ! cmp -s /run/booted-system/kernel /run/current-system/kernel; then
            systemctl reboot
          fi
        ''}
      '';
      serviceConfig.Type = "oneshot";
    };
  };
}
