# What infect writes on the reference guest: the disk's file systems and drivers.
{ ... }:
{
  boot.initrd.availableKernelModules = [ "virtio_pci" "virtio_blk" ];
  boot.kernelParams = [ "console=ttyS0,115200n8" "panic=-1" "systemd.show_status=auto" ];
  boot.loader.timeout = 0;
  boot.loader.grub.device = "/dev/vda";
  boot.loader.grub.extraConfig = ''
    serial --unit=0 --speed=115200
    terminal_input serial
    terminal_output serial
  '';
  fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
  fileSystems."/boot" = { noCheck = true; device = "/dev/disk/by-label/boot"; fsType = "ext4"; };
}
