# The programs of a run on NixOS, or wherever Nix is: `nix-shell`, then `make accept`.
#
# The reference image cannot be built without Debian's apt: build it on a Debian or an
# Ubuntu, and import it with `harness images --import FILE`.
{ pkgs ? import <nixpkgs> { } }:

pkgs.mkShell {
  packages = [
    pkgs.python3
    pkgs.gnumake
    pkgs.bash
    pkgs.git
    pkgs.qemu # qemu-system-x86_64, qemu-img
    pkgs.virtiofsd
    pkgs.dnsmasq
    pkgs.nginx
    pkgs.iproute2
    pkgs.iputils # ping
    pkgs.nftables
    pkgs.openssh
    pkgs.openssl
    pkgs.util-linux # unshare, nsenter, setpriv, setsid, mount, mountpoint, sfdisk
    pkgs.e2fsprogs # debugfs
    pkgs.systemd # systemctl, systemd-analyze
    # For `make test` only.
    pkgs.shellcheck
    pkgs.tmux
    pkgs.dpkg
  ];

  # Wheels with compiled parts look for the C++ library where other systems have it.
  LD_LIBRARY_PATH = pkgs.lib.makeLibraryPath [ pkgs.stdenv.cc.cc.lib pkgs.zlib ];
}
