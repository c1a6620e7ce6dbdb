# Secrets, decrypted at activation into memory, under sops-nix' option names
# (Mic92/sops-nix modules/sops/default.nix). The file is JSON, name to age ciphertext:
# names can be read by everybody, values by the holders of the keys alone.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.sops;
  units = mkOption { type = types.listOf types.str; default = [ ]; };
  file = secret: if secret.sopsFile != null then secret.sopsFile else cfg.defaultSopsFile;
in
{
  options.sops = {
    defaultSopsFile = mkOption { type = types.nullOr types.path; default = null; };
    validateSopsFiles = mkOption { type = types.bool; default = true; };
    keepGenerations = mkOption { type = types.int; default = 1; };
    age.keyFile = mkOption { type = types.nullOr types.str; default = null; };
    age.sshKeyPaths = mkOption {
      type = types.listOf types.str;
      default = lib.optional config.services.openssh.enable "/etc/ssh/ssh_host_ed25519_key";
      description = "The host's own key: what makes the host the one that can read.";
    };
    secrets = mkOption {
      default = { };
      type = types.attrsOf (types.submodule (name: {
        name = mkOption { type = types.str; default = name; };
        key = mkOption { type = types.str; default = name; };
        path = mkOption { type = types.str; default = "/run/secrets/${name}"; };
        sopsFile = mkOption { type = types.nullOr types.path; default = null; };
        owner = mkOption { type = types.str; default = "root"; };
        group = mkOption { type = types.nullOr types.str; default = null; };
        mode = mkOption { type = types.str; default = "0400"; };
        restartUnits = units;
        reloadUnits = units;
      }));
    };
  };

  config = {
    system.build.secrets = if cfg.secrets == { } then null else {
      age = "${pkgs.age}/bin/age";
      identities = cfg.age.sshKeyPaths ++ lib.optional (cfg.age.keyFile != null) cfg.age.keyFile;
      inherit (cfg) keepGenerations;
      secrets = map
        (s: {
          inherit (s) name key path owner mode restartUnits reloadUnits;
          file = "${file s}";
          group = if s.group != null then s.group else config.system.build.users.${s.owner}.group;
        })
        (lib.attrValues cfg.secrets);
    };

    assertions = lib.concatMap
      (s: [
        {
          assertion = file s != null;
          message = "sops.secrets.${s.name} has no sopsFile, and there is no sops.defaultSopsFile.";
        }
        {
          assertion = !cfg.validateSopsFiles || lib.hasAttr s.key (lib.fromJSON (lib.readFile (file s)));
          message = "The key ‘${s.key}’ of sops.secrets.${s.name} cannot be found in ${toString (file s)}.";
        }
      ])
      (lib.attrValues cfg.secrets);
  };
}
