"""When a menu is right, and when a boot was the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness import (
        Bootloader,
        Generation,
        Machine,
        MenuEntry,
        Recorder,
        SystemState,
    )

# Another kernel than the reference's own, and a mark that only this generation has.
NEW_KERNEL = """
{ pkgs, lib, ... }: {
  boot.kernelPackages = lib.mkForce pkgs.linuxPackages_latest;
  boot.kernelParams = [ "acceptance.generation=new" ];
}
"""
_GRUBENV = "/boot/grub/grubenv"
_GRUBENV_BYTES = 1024
_DIRECT_BOOT = {"-kernel", "-initrd", "-append"}


def judge_menu(check: Recorder, menu: Bootloader, generation: Generation) -> None:
    """Demand that the next boot takes this generation, from files that exist."""
    entry = menu.default
    taken = entry.system if entry else None
    check.check(
        "boot menu defaults to the new generation",
        taken == generation.path,
        f"default entry boots {taken}, the profile is {generation.path}",
    )
    dangling = [e.title for e in menu.entries if not e.complete]
    check.check(
        "every boot entry is complete",
        not dangling and menu.entries,
        f"{len(menu.entries)} entries, kernel or initrd missing for: {dangling}",
    )
    check.check(
        "nothing pins another default", menu.pin is None, f"pinned to {menu.pin}"
    )
    check.check(
        "the boot loader left no half-written file",
        not menu.leftovers,
        f"left: {', '.join(menu.leftovers)}",
    )


def judge_room(
    check: Recorder, machine: Machine, menu: Bootloader, factor: float
) -> None:
    """Demand that kernel and initrd of the generations to come fit beside these.

    Where there is no room the next switch but one fails, and collecting old
    generations does not help: their kernels go only after the new one is there.
    """
    entry = menu.default
    files = [entry.kernel_file, *entry.initrd_files] if entry else []
    there = [file for file in files if file]
    check.require(
        "the default entry's files are there", there, f"the menu names {files}"
    )
    sizes = machine.succeed("stat", "-L", "-c", "%s", *there).split()
    blocks, size = machine.succeed("stat", "-f", "-c", "%a %S", there[0]).split()
    needed = sum(map(int, sizes)) / 2**20
    free = int(blocks) * int(size) / 2**20
    check.check(
        "/boot has room for the kernels to come",
        free >= factor * needed,
        f"{free:.0f} MiB are free, a kernel with its initrd takes {needed:.0f} MiB, "
        f"budget {factor:g} times that",
    )


def judge_boot(
    check: Recorder,
    machine: Machine,
    state: SystemState,
    expected: Generation,
    menu: Bootloader,
) -> None:
    """Demand that what runs now is the expected generation in every part."""
    direct = sorted(_DIRECT_BOOT & set(machine.argv))
    check.check(
        "QEMU boots no kernel of the host's",
        not direct,
        f"QEMU's command line has {' '.join(direct)}",
    )
    booted = state.booted.path if state.booted else None
    check.check(
        "the expected generation was booted",
        booted == expected.path,
        f"/run/booted-system is {booted}, expected {expected.path}",
    )
    check.check(
        "init lies in the booted generation",
        (state.init or "").startswith(f"{expected.path}/"),
        f"init={state.init} on the kernel's command line",
    )
    check.check(
        "uname -r is the new generation's kernel",
        booted == expected.path and state.modules_present,
        f"uname -r says {state.kernel_release}, for which the generation "
        "has no modules",
    )
    check.check(
        "the kernel's command line is the generation's",
        set(expected.params.split()) <= set(state.cmdline.split()),
        f"{state.cmdline!r} lacks something of {expected.params!r}",
    )
    digests = {e.kernel_sha256 for e in menu.entries_for(expected.path)}
    kernel = menu.digests.get("/run/booted-system/kernel")
    check.check(
        "the booted kernel is byte for byte the boot loader's",
        digests == {kernel} and kernel,
        f"/run/booted-system/kernel is {kernel}, the menu has {digests}",
    )
    digests = {d for e in menu.entries_for(expected.path) for d in e.initrd_sha256s}
    initrd = menu.digests.get("/run/booted-system/initrd")
    check.check(
        "the booted initrd is byte for byte the boot loader's",
        digests == {initrd} and initrd,
        f"/run/booted-system/initrd is {initrd}, the menu has {digests}",
    )


def judge_alive(check: Recorder, machine: Machine) -> None:
    """After whatever happened, the guest must be a whole system again."""
    failed = machine.system.failed_units()
    check.check("no unit failed", not failed, f"failed: {', '.join(failed)}")


def choose_once(machine: Machine, entry: MenuEntry) -> None:
    """Have the next boot, and only that one, take this entry, as `grub-reboot` does.

    The environment block is 1024 bytes, padded with '#' (GRUB manual, "Environment
    block"), so that no tool of GRUB's needs to be in the guest.
    """
    block = f"# GRUB Environment Block\nnext_entry={entry.position}\n"
    machine.write_file(_GRUBENV, block.ljust(_GRUBENV_BYTES, "#"))
    machine.succeed("sync")
