#!@shell@
# shellcheck shell=sh disable=SC1008,SC2239 # the shell is a store path
# Stage 2: from the mounted root file system to systemd.
# After nixpkgs nixos/modules/system/boot/stage-2-init.sh.
systemConfig=@systemConfig@
export HOME=/root PATH=@path@

echo
echo "<<< NixOS Stage 2 >>>"
echo
echo "booting system configuration $systemConfig" >/dev/kmsg

# The store is read-only to everything but Nix.
mount --bind /nix/store /nix/store
mount -o remount,ro,bind /nix/store

rm -rf /nix/var/nix/gcroots/tmp /nix/var/nix/temproots
[ -d /run/lock ] || mkdir -m 0755 /run/lock

echo "running activation script..."
"$systemConfig/activate" "$systemConfig"

# Neither the booted system nor its kernel's modules may be collected while it runs.
ln -sfn "$systemConfig" /run/booted-system
ln -sfn /run/booted-system /nix/var/nix/gcroots/booted-system

echo "starting systemd..."
exec /run/current-system/systemd/lib/systemd/systemd
