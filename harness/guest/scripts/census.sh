# shellcheck shell=sh
# Which directories hold the inodes of a file system, and what onboarding left over.
# ROOT DEPTH
section census
du --inodes -x -d "$2" "$1" 2>/dev/null | sort -rn | head -n 60
section leftovers
for path in /old-root /boot.bak /boot/efi.bak; do
    if [ -e "$path" ]; then du --inodes -s "$path" 2>/dev/null; fi
done
section end
