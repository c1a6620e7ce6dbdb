"""A generation with another kernel, /boot's room, and the choice of an entry."""

from collections.abc import Sequence

from harness import Machine, MenuEntry

# Another kernel than the reference's own, and a mark that only this generation has.
NEW_KERNEL = """
{ pkgs, lib, ... }: {
  boot.kernelPackages = lib.mkForce pkgs.linuxPackages_latest;
  boot.kernelParams = [ "acceptance.generation=new" ];
}
"""
_GRUBENV = "/boot/grub/grubenv"
_GRUBENV_BYTES = 1024
_MIB = 2**20


def free_mib(machine: Machine, file: str) -> float:
    """Observe the free space of the file system that holds a file, in MiB."""
    blocks, size = machine.succeed("stat", "-f", "-c", "%a %S", file).split()
    return int(blocks) * int(size) / _MIB


def sizes_mib(machine: Machine, files: Sequence[str]) -> list[float]:
    """Observe the size of each file, in MiB."""
    sizes = machine.succeed("stat", "-L", "-c", "%s", *files).split()
    return [int(size) / _MIB for size in sizes]


def choose_once(machine: Machine, entry: MenuEntry) -> None:
    """Choose an entry for the next boot, and only that one, as `grub-reboot` does.

    The environment block is 1024 bytes, padded with '#' (GRUB manual, "Environment
    block"), so that the guest needs no tool of GRUB.
    """
    block = f"# GRUB Environment Block\nnext_entry={entry.position}\n"
    machine.write_file(_GRUBENV, block.ljust(_GRUBENV_BYTES, "#"))
    machine.succeed("sync")
