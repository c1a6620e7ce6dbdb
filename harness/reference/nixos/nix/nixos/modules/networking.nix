# Static networking by systemd-networkd, as `networking.useNetworkd = true`
# (nixpkgs nixos/modules/tasks/network-interfaces-systemd.nix, system/boot/networkd.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  address = types.submodule {
    address = mkOption { type = types.str; };
    prefixLength = mkOption { type = types.int; };
  };
  gateway = types.submodule {
    address = mkOption { type = types.str; };
    interface = mkOption { type = types.nullOr types.str; default = null; };
  };
  ports = mkOption { type = types.listOf types.port; default = [ ]; };
  via = cfg.defaultGateway;
  network = name: i: ''
    [Match]
    Name=${name}

    [Link]
    RequiredForOnline=${if i.ipv4.addresses == [ ] then "no" else "yes"}

    [Network]
    DHCP=${if i.useDHCP then "yes" else "no"}
    LinkLocalAddressing=no
    IPv6AcceptRA=no
    ${lib.concatMapStrings (a: "Address=${a.address}/${toString a.prefixLength}\n") i.ipv4.addresses}${
      lib.optionalString (via != null && i.ipv4.addresses != [ ] && (via.interface == null || via.interface == name)) "Gateway=${via.address}\n"}'';
  tcp = lib.unique cfg.firewall.allowedTCPPorts;
  # nixos/modules/services/networking/firewall-nftables.nix
  ruleset = ''
    table inet nixos-fw
    delete table inet nixos-fw
    table inet nixos-fw {
      chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state vmap { invalid : drop, established : accept, related : accept }
        ${lib.optionalString (tcp != [ ]) "tcp dport { ${lib.concatMapStringsSep ", " toString tcp} } accept"}
        ${lib.optionalString (cfg.firewall.allowedUDPPorts != [ ]) "udp dport { ${lib.concatMapStringsSep ", " toString cfg.firewall.allowedUDPPorts} } accept"}
        ${lib.optionalString cfg.firewall.allowPing "icmp type echo-request accept"}
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
      }
    }
  '';
in
{
  options = {
    networking.hostName = mkOption { type = types.str; default = "nixos"; };
    networking.domain = mkOption { type = types.nullOr types.str; default = null; };
    networking.useDHCP = mkOption { type = types.bool; default = false; };
    networking.dhcpcd.enable = mkOption { type = types.bool; default = false; };
    networking.useNetworkd = mkOption { type = types.bool; default = true; };
    networking.usePredictableInterfaceNames = mkOption { type = types.bool; default = true; };
    networking.interfaces = mkOption {
      default = { };
      type = types.attrsOf (types.submodule {
        useDHCP = mkOption { type = types.bool; default = false; };
        ipv4.addresses = mkOption { type = types.listOf address; default = [ ]; };
      });
    };
    networking.defaultGateway = mkOption {
      type = types.nullOr (types.either types.str gateway);
      default = null;
      apply = v: if lib.isString v then { address = v; interface = null; } else v;
    };
    networking.nameservers = mkOption { type = types.listOf types.str; default = [ ]; };
    networking.extraHosts = mkOption { type = types.lines; default = ""; };
    networking.firewall = {
      enable = mkOption { type = types.bool; default = true; };
      allowPing = mkOption { type = types.bool; default = true; };
      allowedTCPPorts = ports;
      allowedUDPPorts = ports;
    };
    services.udev.extraRules = mkOption { type = types.lines; default = ""; };
  };

  config = {
    boot.kernelParams = lib.mkIf (!cfg.usePredictableInterfaceNames) [ "net.ifnames=0" ];
    environment.etc = {
      "nftables.conf".text = ruleset;
      hostname.text = "${cfg.hostName}\n";
      hosts.text = "127.0.0.1 localhost\n::1 localhost\n127.0.0.2 ${cfg.hostName}\n${cfg.extraHosts}";
      "resolv.conf".text = lib.concatMapStrings (n: "nameserver ${n}\n") cfg.nameservers;
      "udev/rules.d/99-local.rules".text = config.services.udev.extraRules;
    } // lib.mapAttrs'
      (name: i: lib.nameValuePair "systemd/network/40-${name}.network" { text = network name i; })
      cfg.interfaces
    // lib.mapAttrs' (name: text: lib.nameValuePair "systemd/network/${name}" { inherit text; })
      config.systemd.network.files;

    systemd.services.systemd-networkd = {
      wantedBy = [ "multi-user.target" ];
      aliases = [ "dbus-org.freedesktop.network1.service" ];
      # Changed addresses are taken over by `networkctl reload`, without going down.
      stopIfChanged = false;
      notSocketActivated = true;
      reloadTriggers = lib.mapAttrsToList (name: i: builtins.hashString "sha256" (network name i)) cfg.interfaces;
    };
    systemd.sockets.systemd-networkd.wantedBy = [ "sockets.target" ];
    systemd.services.systemd-networkd-wait-online = {
      wantedBy = [ "network-online.target" ];
      serviceConfig.ExecStart = [ "" "/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=30" ];
    };

    # nixos/modules/services/networking/nftables.nix
    systemd.services.nftables = lib.mkIf cfg.firewall.enable {
      description = "nftables firewall";
      before = [ "network-pre.target" ];
      wants = [ "network-pre.target" ];
      wantedBy = [ "multi-user.target" ];
      reloadIfChanged = true;
      restartTriggers = [ (builtins.hashString "sha256" ruleset) ];
      unitConfig.DefaultDependencies = false;
      after = [ "local-fs.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "/usr/sbin/nft -f /etc/nftables.conf";
        ExecReload = "/usr/sbin/nft -f /etc/nftables.conf";
        ExecStop = "/usr/sbin/nft destroy table inet nixos-fw";
      };
    };
  };
}
