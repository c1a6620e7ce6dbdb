# Units (nixpkgs nixos/lib/systemd-unit-options.nix, systemd-lib.nix,
# nixos/modules/system/boot/systemd.nix).
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption optional optionalAttrs types;
  cfg = config.systemd;

  names = mkOption { type = types.listOf types.str; default = [ ]; };
  section = mkOption { type = types.attrsOf types.unitValue; default = { }; };
  switch = default: mkOption { type = types.bool; inherit default; };

  common = {
    enable = switch true;
    overrideStrategy = mkOption { type = types.str; default = "asDropinIfExists"; };
    description = mkOption { type = types.str; default = ""; };
    documentation = names;
    aliases = names;
    wantedBy = names;
    requiredBy = names;
    upheldBy = names;
    after = names;
    before = names;
    requires = names;
    wants = names;
    bindsTo = names;
    partOf = names;
    conflicts = names;
    onFailure = names;
    unitConfig = section;
    restartTriggers = mkOption { type = types.listOf types.scalar; default = [ ]; };
    reloadTriggers = mkOption { type = types.listOf types.scalar; default = [ ]; };
    stopIfChanged = switch true;
    restartIfChanged = switch true;
    reloadIfChanged = switch false;
    notSocketActivated = switch false;
  };
  lines = mkOption { type = types.lines; default = ""; };
  serviceOptions = common // {
    environment = mkOption { type = types.attrsOf types.scalar; default = { }; };
    path = mkOption { type = types.listOf (types.either types.package types.str); default = [ ]; };
    serviceConfig = section;
    startAt = mkOption {
      type = types.either types.str (types.listOf types.str);
      default = [ ];
      apply = v: if lib.isList v then v else [ v ];
    };
    script = lines;
    preStart = lines;
    postStart = lines;
    preStop = lines;
    reload = lines;
  };

  value = v: if lib.isBool v then (if v then "true" else "false") else toString v;
  render = attrs: lib.concatStringsSep "" (lib.mapAttrsToList
    (key: v: lib.concatMapStrings (one: "${key}=${value one}\n") (if lib.isList v then v else [ v ]))
    attrs);
  words = key: list: optionalAttrs (list != [ ]) { ${key} = toString list; };

  unitSection = u: "[Unit]\n" + render (
    optionalAttrs (u.description != "") { Description = u.description; }
    // words "Documentation" u.documentation
    // words "After" u.after // words "Before" u.before // words "Requires" u.requires
    // words "Wants" u.wants // words "BindsTo" u.bindsTo // words "PartOf" u.partOf
    // words "Conflicts" u.conflicts // words "OnFailure" u.onFailure
    // words "X-Restart-Triggers" (map toString u.restartTriggers)
    // words "X-Reload-Triggers" (map toString u.reloadTriggers)
    // u.unitConfig);

  script = name: kind: text: "${pkgs.writeShellScriptBin "${name}-${kind}" "set -e\n${text}\n"}/bin/${name}-${kind}";
  default = [ pkgs.coreutils pkgs.findutils pkgs.gnugrep pkgs.gnused ];
  serviceText = name: u:
    let
      path = lib.concatStringsSep ":" (lib.concatMap (p: [ "${p}/bin" ]) (u.path ++ default)
        # The base's own programs (systemctl, ip): docs/explanation/reference-guest.md.
        ++ [ "/usr/sbin" "/usr/bin" ]);
      environment = (optionalAttrs (u.script != "" || u.path != [ ] || u.preStart != "") { PATH = path; })
        // lib.filterAttrs (_: v: v != null) u.environment;
      overrides = isUpstream "${name}.service";
    in
    unitSection u + "\n[Service]\n"
    + lib.concatStringsSep "" (lib.mapAttrsToList
      (k: v: "Environment=${lib.toJSON "${k}=${toString v}"}\n")
      environment)
    + render (
      optionalAttrs (u.script != "") { ExecStart = script name "start" u.script; }
      // optionalAttrs (u.preStart != "") { ExecStartPre = script name "pre-start" u.preStart; }
      // optionalAttrs (u.postStart != "") { ExecStartPost = script name "post-start" u.postStart; }
      // optionalAttrs (u.preStop != "") { ExecStop = script name "pre-stop" u.preStop; }
      // optionalAttrs (u.reload != "") { ExecReload = script name "reload" u.reload; }
      // u.serviceConfig)
    + lib.optionalString u.reloadIfChanged "X-ReloadIfChanged=true\n"
    + lib.optionalString (!u.reloadIfChanged && !u.restartIfChanged) "X-RestartIfChanged=false\n"
    + lib.optionalString (!u.stopIfChanged) "X-StopIfChanged=false\n"
    + lib.optionalString u.notSocketActivated "X-NotSocketActivated=true\n";

  isUpstream = name: lib.elem name cfg.upstreamUnits;
  unit = name: u: text: {
    inherit (u) enable aliases;
    inherit text;
    overrides = u.overrideStrategy == "asDropin"
      || (u.overrideStrategy == "asDropinIfExists" && isUpstream name);
    wants = u.wantedBy;
    requires = u.requiredBy;
    upholds = u.upheldBy;
  };
  kind = suffix: sectionName: configName: units: lib.mapAttrs'
    (name: u:
      let extra = if configName == null then "" else render u.${configName}; in
      lib.nameValuePair "${name}.${suffix}" (unit "${name}.${suffix}" u
        (unitSection u + lib.optionalString (extra != "") "\n[${sectionName}]\n${extra}")))
    units;

  # `startAt` makes a timer; a timer without service does not exist in NixOS either.
  scheduled = lib.filterAttrs (_: s: s.enable && s.startAt != [ ]) cfg.services;
  timersOfServices = lib.mapAttrs
    (_: s: { wantedBy = [ "timers.target" ]; timerConfig.OnCalendar = s.startAt; })
    scheduled;
in
{
  options.systemd = {
    package = mkOption { type = types.package; default = pkgs.systemd; };
    upstreamUnits = names;
    maskedUnits = names;
    services = mkOption { type = types.attrsOf (types.submodule serviceOptions); default = { }; };
    timers = mkOption { type = types.attrsOf (types.submodule (common // { timerConfig = section; })); default = { }; };
    sockets = mkOption { type = types.attrsOf (types.submodule (common // { socketConfig = section; })); default = { }; };
    targets = mkOption { type = types.attrsOf (types.submodule common); default = { }; };
    slices = mkOption { type = types.attrsOf (types.submodule (common // { sliceConfig = section; })); default = { }; };
    paths = mkOption { type = types.attrsOf (types.submodule (common // { pathConfig = section; })); default = { }; };
    mounts = mkOption {
      type = types.listOf (types.submodule (common // {
        what = mkOption { type = types.str; };
        where = mkOption { type = types.str; };
        type = mkOption { type = types.str; default = ""; };
        options = mkOption { type = types.str; default = ""; };
        mountConfig = section;
      }));
      default = [ ];
    };
    tmpfiles.rules = names;
    generators = mkOption { type = types.attrsOf types.path; default = { }; };
    settings.Manager = section;
    # Files that go to /etc/systemd/network as they are; networking.* writes most.
    network.files = mkOption { type = types.attrsOf types.lines; default = { }; };
  };

  config = {
    systemd.timers = timersOfServices;

    systemd.upstreamUnits = [
      # Targets have to belong to the generation, so that a switch starts what is new in
      # them (switch-to-configuration looks at units in /etc/systemd/system alone).
      "basic.target" "sysinit.target" "sockets.target" "timers.target" "paths.target"
      "slices.target" "local-fs.target" "network.target" "network-online.target"
      "nss-lookup.target" "multi-user.target" "getty.target" "remote-fs.target"
      # Services that modules below override.
      "systemd-networkd.service" "systemd-networkd.socket"
      "systemd-networkd-wait-online.service" "systemd-sysctl.service"
      "systemd-journald.service" "systemd-logind.service"
      "serial-getty@.service"
    ];
    systemd.targets.sysinit-reactivation.description = "Reactivate sysinit units";

    environment.etc = lib.mapAttrs'
      (name: source: lib.nameValuePair "systemd/system-generators/${name}" { inherit source; })
      cfg.generators // {
      "systemd/system.conf".text = "[Manager]\n" + render cfg.settings.Manager;
      "tmpfiles.d/00-nixos.conf".text =
        lib.concatMapStrings (rule: "${rule}\n") cfg.tmpfiles.rules;
    };
    # A switch applies changed rules (nixos/modules/system/boot/systemd/tmpfiles.nix).
    systemd.services.systemd-tmpfiles-resetup = lib.mkIf (cfg.tmpfiles.rules != [ ]) {
      description = "Re-setup tmpfiles on a system that is already running";
      requiredBy = [ "sysinit-reactivation.target" ];
      before = [ "sysinit-reactivation.target" ];
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "/usr/bin/systemd-tmpfiles --create --remove --exclude-prefix=/dev";
        SuccessExitStatus = "DATAERR CANTCREAT";
      };
      restartTriggers = cfg.tmpfiles.rules;
    };

    system.build.units =
      lib.genAttrs cfg.maskedUnits (_: {
        enable = false;
        text = "";
        overrides = false;
        aliases = [ ];
        wants = [ ];
        requires = [ ];
        upholds = [ ];
      }) //
      lib.mapAttrs' (name: u: lib.nameValuePair "${name}.service" (unit "${name}.service" u (serviceText name u))) cfg.services
      // kind "timer" "Timer" "timerConfig" cfg.timers
      // kind "socket" "Socket" "socketConfig" cfg.sockets
      // kind "target" "Target" null cfg.targets
      // kind "slice" "Slice" "sliceConfig" cfg.slices
      // kind "path" "Path" "pathConfig" cfg.paths
      // lib.listToAttrs (map
        (m:
          let name = "${lib.replaceStrings [ "/" ] [ "-" ] (lib.substring 1 (-1) m.where)}.mount"; in
          lib.nameValuePair name (unit name m (unitSection m + "\n[Mount]\n" + render (
            { What = m.what; Where = m.where; }
            // optionalAttrs (m.type != "") { Type = m.type; }
            // optionalAttrs (m.options != "") { Options = m.options; }
            // m.mountConfig))))
        cfg.mounts);
  };
}
