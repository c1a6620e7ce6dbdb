"""Ways to boot something else than the guest built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import MachineError
from harness.fault.base import Fault, must_fail
from harness.fault.means import configure, run
from harness.qemu.microvm import HostKernel, direct_boot

if TYPE_CHECKING:
    from harness.machine import Machine
    from harness.qemu import MachinePlan

CRITERION = "reboot-boots-guest-kernel"


class DirectBoot(Fault):
    """The host boots the guest with a kernel and initrd of its own choosing."""

    name = "direct-kernel-boot"
    source = "microvm.nix lib/runners/qemu.nix; microvm.nix#283"
    expects = must_fail(
        CRITERION,
        "QEMU boots no kernel from the host",
        "the expected generation is booted",
    )
    scenario = "new-kernel"

    def __init__(self) -> None:
        self._system: HostKernel | None = None

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Boot the kept kernel, from the first boot after `inject` on."""
        if self._system is None or plan.incoming or plan.disk is None:
            return plan
        return direct_boot(plan, self._system)

    def inject(self, machine: Machine) -> None:
        """Take kernel and initrd of the running system out, and boot by them."""
        home = machine.directory / "host-kernel"
        home.mkdir(mode=0o700, exist_ok=True)
        deadline = machine.deadline(300, "kernel and initrd to be copied")
        for name in ("kernel", "initrd"):
            data = machine.agent.read_file(
                f"/run/booted-system/{name}", deadline=deadline
            )
            (home / name).write_bytes(data)
        system = machine.system.state().booted
        if system is None:
            raise MachineError(f"{machine.name} runs no generation")
        append = f"init={system.path}/init {system.params}"
        self._system = HostKernel(home / "kernel", home / "initrd", append)
        machine.shutdown()
        machine.start()


class BootFull(Fault):
    """/boot has no room for another kernel, the switch cannot install it."""

    name = "boot-full"
    source = "nixpkgs#189966, #23926"
    expects = must_fail(CRITERION, "the switch succeeds")
    scenario = "new-kernel"
    fast = True

    def inject(self, machine: Machine) -> None:
        """Fill /boot up to some 8 MiB, which no kernel with its initrd fits into."""
        run(
            machine,
            "set -- $(stat -f -c '%f %S' /boot)\n"
            "fallocate -l $(($1 * $2 - 33554432)) /boot/filler\n"
            "dd if=/dev/zero of=/boot/rest bs=1M count=24 2>/dev/null || :\nsync",
        )


class BootNearlyFull(Fault):
    """Old kernels pile up on /boot until it has room for one more and no other."""

    name = "boot-nearly-full"
    source = "nixos-infect#192 (a small /boot); nixpkgs#23926"
    expects = must_fail(CRITERION, "/boot has room for further kernels")
    scenario = "new-kernel"

    def inject(self, machine: Machine) -> None:
        """Leave room for two kernels with initrds, of which a switch takes one."""
        run(
            machine,
            "set -- $(stat -f -c '%a %S' /boot) $(stat -L -c %s"
            " /run/booted-system/kernel /run/booted-system/initrd)\n"
            "fallocate -l $(($1 * $2 - 2 * ($3 + $4))) /boot/filler\nsync",
        )


class BootElsewhere(Fault):
    """The guest writes its menu to a /boot that the firmware never reads."""

    name = "boot-elsewhere"
    source = "nixos-infect#256, #199; nixpkgs#121572"
    expects = must_fail(CRITERION, "the expected generation is booted")
    scenario = "new-kernel"

    def inject(self, machine: Machine) -> None:
        """Mount a copy of /boot over /boot; the next boot mounts the real one.

        The loop device stays attached and is settled first: systemd unmounts what lies
        on a device that it saw going (systemd.mount(5), BindsTo= of the device unit).
        """
        run(
            machine,
            """
            modprobe loop
            truncate -s 400M /var/elsewhere.img
            mke2fs -q -F /var/elsewhere.img
            device=$(losetup --find --show /var/elsewhere.img)
            udevadm settle --timeout=60
            mkdir -p /mnt/elsewhere
            mount "$device" /mnt/elsewhere
            cp -a /boot/. /mnt/elsewhere/
            umount /mnt/elsewhere
            mount "$device" /boot
            uuid=$(blkid -p -s UUID -o value /var/elsewhere.img)
            ln -sf "$device" "/dev/disk/by-uuid/$uuid"
            """,
        )


class Pinned(Fault):
    """A one-time choice left in the boot loader wins over the newest generation."""

    name = "old-entry-pinned"
    source = "nixpkgs#28445"
    expects = must_fail(
        CRITERION,
        "no saved choice overrides the default boot entry",
        "the default boot entry is the profile's generation",
    )
    scenario = "new-kernel"

    def inject(self, machine: Machine) -> None:
        """Choose the second line of all configurations, as `grub-reboot` does."""
        block = "# GRUB Environment Block\nnext_entry=1>1\n"
        machine.write_file("/boot/grub/grubenv", block.ljust(1024, "#"))
        run(machine, "sync")


class SameKernel(Fault):
    """The new generation's kernel is the old one under another name."""

    name = "same-kernel-again"
    source = "nixpkgs#67707, a loader change silently not carried out"
    expects = must_fail(CRITERION, "another kernel release runs than before the reboot")
    scenario = "new-kernel"

    def inject(self, machine: Machine) -> None:
        """Have every rebuild take a copy of the old kernel for the new one."""
        configure(
            machine,
            """{ lib, pkgs, ... }: {
  boot.kernelPackages = lib.mkOverride 10 {
    kernel = (derivation {
      name = "linux-claimed";
      system = "x86_64-linux";
      builder = "${pkgs.bash}/bin/bash";
      args = [ "-c" ''
        ${pkgs.coreutils}/bin/mkdir $out
        ${pkgs.coreutils}/bin/cp ${pkgs.linux_6_12}/bzImage $out/
        ${pkgs.coreutils}/bin/ln -s ${pkgs.linux_6_12}/lib $out/lib
      '' ];
    }) // { inherit (pkgs.linux_6_12) modDirVersion; };
  };
}
""",
        )


class OneEntry(Fault):
    """The boot menu keeps one generation only, so there is none to go back to."""

    name = "no-old-entry"
    source = "nixpkgs#26165 (entries of deleted generations lose their kernels)"
    expects = must_fail(CRITERION, "the old generation is in the boot menu")
    scenario = "new-kernel"

    def inject(self, machine: Machine) -> None:
        """Limit the menu of every rebuild."""
        configure(
            machine,
            "{ lib, ... }: { boot.loader.grub.configurationLimit = lib.mkForce 1; }\n",
        )


class OtherInitrd(Fault):
    """The boot loader has another initrd than the generation it belongs to."""

    name = "initrd-of-another-build"
    source = "nixpkgs#67707, a loader change silently not carried out"
    expects = must_fail(
        CRITERION, "the booted initrd is identical to the boot loader's"
    )
    scenario = "new-kernel"

    def after_rebuild(self, machine: Machine) -> None:
        """Pad the initrd of the entry that is booted next."""
        entry = machine.system.bootloader().default
        files = entry.initrd_files if entry else ()
        if not files or files[0] is None:
            raise MachineError(f"{machine.name} has no initrd in its boot menu")
        run(machine, f"head -c 512 /dev/zero >>{files[0]}\nsync")
