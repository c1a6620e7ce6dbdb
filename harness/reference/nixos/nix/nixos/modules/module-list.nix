# All modules of this guest (nixpkgs nixos/modules/module-list.nix).
[
  ./system.nix
  ./systemd.nix
  ./etc.nix
  ./users.nix
  ./boot.nix
  ./networking.nix
  ./nix.nix
  ./base.nix
  ./services.nix
  ./sops.nix
  ./lab.nix
  ./bento.nix
]
