#!/bin/busybox sh
# Stage 1: find the root file system and start stage 2 on it.
# After nixpkgs nixos/modules/system/boot/stage-1-init.sh (the scripted stage 1), cut down
# to one local disk. Messages that one may search for are NixOS' own.
# shellcheck shell=dash disable=SC2174 # the parents exist, or are 0755

/bin/busybox mkdir -p /proc /sys /dev /run
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /bin
export PATH=/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755,size=25% tmpfs /run

targetRoot=/mnt-root
stage2Init=/init
panicOnFail=
allowShell=

fail() {
  if [ -n "$panicOnFail" ]; then exit 1; fi
  cat <<END

An error occurred in stage 1 of the boot process, which must mount the
root filesystem on \`$targetRoot' and then start stage 2.  Press one
of the following keys:

  r) to reboot immediately
  *) to ignore the error and continue
END
  if [ -n "$allowShell" ]; then echo "  i) to launch an interactive shell"; fi
  read -r reply || exit 1
  case $reply in
    r) reboot -f ;;
    i) if [ -n "$allowShell" ]; then setsid cttyhack sh; fi ;;
    *) echo "Continuing..." ;;
  esac
}

echo
echo "<<< NixOS Stage 1 >>>"
echo

read -r words </proc/cmdline
for word in $words; do
  case $word in
    init=*) stage2Init=${word#init=} ;;
    boot.shell_on_fail) allowShell=1 ;;
    boot.panic_on_fail | stage1panic=1) panicOnFail=1 ;;
  esac
done

for module in /modules/*.ko; do
  [ -e "$module" ] || continue
  name=${module##*/??-}
  echo "loading module ${name%.ko}..."
  insmod "$module" || true
done

# The device behind /dev/disk/by-label/NAME and by-uuid/ID: there is no udev yet.
resolve() {
  case $1 in
    /dev/disk/by-label/*) findfs "LABEL=${1#/dev/disk/by-label/}" 2>/dev/null ;;
    /dev/disk/by-uuid/*) findfs "UUID=${1#/dev/disk/by-uuid/}" 2>/dev/null ;;
    *) [ -b "$1" ] && echo "$1" ;;
  esac
}

while read -r mountPoint device fsType options; do
  tries=200
  until found=$(resolve "$device"); do
    tries=$((tries - 1))
    if [ $tries -eq 0 ]; then
      echo "Timed out waiting for device $device, trying to mount anyway."
      found=$device
      break
    fi
    usleep 100000
  done
  echo "mounting $device on $mountPoint..."
  # Busybox does not know options for other programs (x-…).
  plain=$(echo "$options" | tr , '\n' | grep -v '^x-' | tr '\n' ,)
  mount -t "$fsType" -o "${plain%,}" "$found" "$targetRoot$mountPoint" || fail
done </fs-info

# NIXOS_LUSTRATE (NixOS manual, "Installing from another Linux distribution"): put the
# old distribution aside. NixOS moves everything but /nix and /boot; here Debian's /usr
# is the base that goes on serving, so only what the old *machine* was is moved.
if [ -e $targetRoot/etc/NIXOS_LUSTRATE ]; then
  echo
  echo "<<< NixOS is now lustrating the root filesystem (cruft goes to /old-root) >>>"
  echo
  mkdir -m 0755 -p $targetRoot/old-root.tmp
  # What is listed is kept, as it is in NixOS.
  keep=$(cat $targetRoot/etc/NIXOS_LUSTRATE)
  is_kept() {
    for kept in $keep; do
      [ "${kept#/}" = "$1" ] && return 0
    done
    return 1
  }
  for path in home root srv var/lib/cloud var/lib/systemd var/log var/tmp var/spool \
    etc/apt etc/cloud etc/cron.d etc/cron.daily etc/default/grub.d etc/fstab etc/grub.d \
    etc/hostname etc/hosts etc/kernel etc/machine-id etc/netplan etc/network etc/profile.d \
    etc/resolv.conf etc/ssh etc/sudoers.d etc/systemd etc/tmpfiles.d etc/sysctl.d \
    etc/modules-load.d etc/udev/rules.d etc/nix etc/os-release; do
    if [ -e "$targetRoot/$path" ] || [ -L "$targetRoot/$path" ]; then
      is_kept "$path" && continue
      mkdir -p "$targetRoot/old-root.tmp/${path%/*}"
      mv "$targetRoot/$path" "$targetRoot/old-root.tmp/$path"
    fi
  done
  for kept in $keep; do
    # Kept files inside a moved directory come back to their place.
    if [ -e "$targetRoot/old-root.tmp/${kept#/}" ]; then
      mkdir -p "$targetRoot/$(dirname "${kept#/}")"
      cp -a "$targetRoot/old-root.tmp/${kept#/}" "$targetRoot/${kept#/}"
    fi
  done
  mkdir -m 0700 -p $targetRoot/root
  mkdir -m 0755 -p $targetRoot/home $targetRoot/var/log $targetRoot/var/lib/systemd
  mkdir -m 1777 -p $targetRoot/var/tmp
  # The users of the old machine: people, that is ids from 1000 up, but nobody.
  cp -a $targetRoot/etc/passwd $targetRoot/etc/group $targetRoot/etc/shadow $targetRoot/old-root.tmp/etc/
  people=$(awk -F: '$3 >= 1000 && $3 < 60000 { print $1 }' $targetRoot/etc/passwd)
  for person in $people; do
    sed -i "/^$person:/d" $targetRoot/etc/passwd $targetRoot/etc/group $targetRoot/etc/shadow
  done
  # Programs of the base reach the generation's systemd and modules by these names.
  mkdir -p $targetRoot/old-root.tmp/usr/lib/systemd $targetRoot/old-root.tmp/usr/lib
  mv $targetRoot/usr/lib/systemd/systemd $targetRoot/old-root.tmp/usr/lib/systemd/systemd
  ln -s /run/current-system/systemd/lib/systemd/systemd $targetRoot/usr/lib/systemd/systemd
  mv $targetRoot/usr/lib/modules $targetRoot/old-root.tmp/usr/lib/modules
  ln -s /run/booted-system/kernel-modules/lib/modules $targetRoot/usr/lib/modules
  rm -f $targetRoot/etc/NIXOS_LUSTRATE
  sync
  mv $targetRoot/old-root.tmp $targetRoot/old-root
fi

if ! [ -e "$targetRoot/$stage2Init" ] && ! [ -L "$targetRoot/$stage2Init" ]; then
  echo "stage 2 init script ($targetRoot/$stage2Init) not found"
  fail
fi

for name in proc sys dev run; do
  mkdir -m 0755 -p "$targetRoot/$name"
  mount --move "/$name" "$targetRoot/$name"
done
exec switch_root "$targetRoot" "$stage2Init"
