# shellcheck shell=sh
# The boot menus as they lie on the disk. No arguments.
for menu in /boot/grub/grub.cfg /boot/grub/grubenv /boot/loader/loader.conf; do
    section "$menu"
    if [ -r "$menu" ]; then cat "$menu"; fi
done
for entry in /boot/loader/entries/*.conf; do
    if [ -r "$entry" ]; then
        section "$entry"
        cat "$entry"
    fi
done
section leftovers
for file in /boot/*.tmp /boot/*/*.tmp /boot/loader/entries/*.tmp; do
    if [ -e "$file" ]; then printf '%s\n' "$file"; fi
done
section end
