#!/bin/busybox sh
# shellcheck shell=sh
# Stage 1 of a guest of the old world: its small disk as root, the host's store and base
# by virtiofs, and over the store a layer of its own, as microvm.nix mounts them
# (nixos-modules/microvm/store-disk.nix, writableStoreOverlay).
/bin/busybox mkdir -p /proc /sys /dev /run
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755,size=25% tmpfs /run

echo
echo "<<< Stage 1 of the host's choosing >>>"
echo
read -r words </proc/cmdline
init=/init
for word in $words; do
    case $word in
    init=*) init=${word#init=} ;;
    esac
done
for module in /modules/*.ko; do
    insmod "$module" || true
done

root=/mnt-root
tries=300
until device=$(findfs LABEL=root 2>/dev/null); do
    tries=$((tries - 1))
    if [ $tries -eq 0 ]; then
        echo "no file system is labelled root"
        exit 1
    fi
    usleep 100000
done
# A kernel whose init ends panics, so whatever fails here is seen at once.
set -e
mount -t ext4 "$device" $root
mount -t virtiofs -o ro base $root/usr
mount -t virtiofs -o ro ro-store $root/nix/.ro-store
layer=$root/nix/.rw-store
mount -t overlay overlay $root/nix/store \
    -o "lowerdir=$root/nix/.ro-store,upperdir=$layer/store,workdir=$layer/work"

for name in proc sys dev run; do
    mount --move "/$name" "$root/$name"
done
exec switch_root $root "$init"
