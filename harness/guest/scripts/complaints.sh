# shellcheck shell=sh
# Mounts, and what the kernel says about broken files. No arguments.
section mountinfo
cat /proc/self/mountinfo
section kernel
dmesg | grep -iE 'stale (nfs )?(file )?handle|estale|error -116|EXT4-fs (\([^)]*\): )?(error|warning)|I/O error|overlayfs:|Remounting filesystem read-only' || :
section end
