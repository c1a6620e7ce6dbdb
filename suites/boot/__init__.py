"""A reboot boots what the guest itself built: kernel, initrd and init."""
