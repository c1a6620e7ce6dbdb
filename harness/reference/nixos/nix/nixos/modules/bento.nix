# A pull of the configuration by timer, like bento (rapenne-s/bento, utils/bento.nix and
# the update.sh that its populate_chroot.sh makes): fetches a changed configuration by
# sftp from this host's own directory on the fleet server, rebuilds, switches, and never
# reboots only if reboot.enable is set.
#
# On the server (chrooted, so these are all that the host can see):
#   last_change_date   changes last, whenever the configuration has changed
#   config/            what belongs into /etc/nixos
{ config, lib, pkgs, ... }:
let
  inherit (lib) escapeShellArg mkEnableOption mkIf mkOption types;
  cfg = config.services.bento;
  text = default: mkOption { type = types.str; inherit default; };
in
{
  options.services.bento = {
    enable = mkEnableOption "pulling the configuration";
    dates = text "*:0/15";
    server = mkOption { type = types.str; description = "The fleet server, by name."; };
    user = text config.networking.hostName;
    identityFile = text "/etc/ssh/ssh_host_ed25519_key";
    knownHostsFile = text "/var/bento/known_hosts";
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
        umask 077
        mkdir -p /var/bento
        cd /var/bento

        # In its own words what sftp has against it goes to sftp.log.
        fetch() {
          printf '%s\n' "$@" | sftp -b - -F none -i ${escapeShellArg cfg.identityFile} \
            -oIdentitiesOnly=yes -oConnectTimeout=15 -oServerAliveInterval=10 \
            -oStrictHostKeyChecking=yes \
            -oUserKnownHostsFile=${escapeShellArg cfg.knownHostsFile} \
            ${escapeShellArg cfg.user}@${escapeShellArg cfg.server} >sftp.log 2>&1 && return
          cat sftp.log >&2
          # A server that is away comes back. One that is another, or that does not let
          # this host in, needs an administrator, who looks at failed units.
          if grep -q -e 'Host key verification failed' -e 'Permission denied' sftp.log; then
            exit 1
          fi
          echo "the fleet server is away, the next pull tries again"
          exit 75
        }

        rm -rf incoming
        mkdir incoming
        fetch 'get last_change_date incoming/'
        if cmp -s incoming/last_change_date state; then
          echo "no update required"
          exit 0
        fi
        fetch 'get -R config incoming/'
        cp -RT incoming/config /etc/nixos
        # Only what could be applied counts: anything else is tried again.
        /run/current-system/sw/bin/nixos-rebuild switch
        mv incoming/last_change_date state
        ${lib.optionalString cfg.reboot.enable ''
          if [ -e incoming/config/REBOOT ] \
            || ! cmp -s /run/booted-system/kernel /run/current-system/kernel; then
            systemctl reboot
          fi
        ''}
      '';
      serviceConfig.Type = "oneshot";
      serviceConfig.SuccessExitStatus = 75;
    };
  };
}
