"""Ways to hurt a store, or to have one that is not the guest's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import COLLECTOR, program, run

if TYPE_CHECKING:
    from harness.machine import Machine
    from harness.qemu import MachinePlan

CRITERION = "gc-no-estale"

_OWN = frozenset({"the Nix store is on the guest's own file system"})
_READS = frozenset({"every file of every live closure reads back"})
_VERIFIES = frozenset({"the store verifies against its database"})
_REAL = '/usr/bin/nix-collect-garbage "$@"; status=$?'
_WRITABLE = "mount -o remount,rw,bind /nix/store"
_READ_ONLY = "mount -o remount,ro,bind /nix/store"


class Overlay(Fault):
    """The store is a writable overlay over another one."""

    name = "overlay-store"
    source = "microvm.nix#466, #134"
    expects = must_fail(CRITERION, *_OWN)
    scenario = "live-sessions"

    def inject(self, machine: Machine) -> None:
        """Lay an overlay over the store."""
        run(
            machine,
            "mkdir -p /var/fault/upper /var/fault/work\n"
            "mount -t overlay overlay -o lowerdir=/nix/store,"
            "upperdir=/var/fault/upper,workdir=/var/fault/work /nix/store",
        )


class SharedDirectory(Fault):
    """The VM has a device that shares a directory of the host with it."""

    name = "host-directory-shared"
    source = "microvm.nix#364; virtme-ng#187"
    expects = must_fail(CRITERION, "QEMU shares no host directory with the guest")
    scenario = "live-sessions"

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Share the machine's own directory, by 9p."""
        share = f"local,path={plan.directory},mount_tag=host,security_model=none"
        return replace(plan, extra=(*plan.extra, "-virtfs", f"{share},readonly=on"))


class ForeignBind(Fault):
    """A path of another machine's store is bind-mounted over one of the guest's."""

    name = "foreign-store-bind-mounted"
    source = "microvm.nix#366 (single paths of the host's store mounted)"
    expects = must_fail(CRITERION, *_OWN)
    scenario = "live-sessions"

    def inject(self, machine: Machine) -> None:
        """Mount a copy of a package over the package."""
        run(
            machine,
            "path=$(readlink -f /run/current-system/sw/bin/sed | cut -d/ -f1-4)\n"
            "mkdir -p /var/foreign\n"
            'cp -a "$path" /var/foreign/copy\n'
            'mount --bind /var/foreign/copy "$path"',
        )


class OpenFileCollected(Fault):
    """The collector deletes a file of the store that a session has open."""

    name = "gc-ignores-open-files"
    source = "nixpkgs#365399; nix#7281"
    expects = must_fail(CRITERION, "a store file that a session has open is kept")
    scenario = "live-sessions"

    def inject(self, machine: Machine) -> None:
        """Let a collector delete what the session of the suite holds."""
        program(
            machine,
            COLLECTOR,
            f"{_REAL}\n{_WRITABLE}\nrm -rf /nix/store/*-acceptance-holder\n"
            f"{_READ_ONLY}\nexit $status",
        )


class LivePathCollected(Fault):
    """The collector deletes a path of the running system."""

    name = "gc-deletes-a-live-path"
    source = "nix#6757, #2285"
    expects = must_fail(CRITERION, *_READS, *_VERIFIES)
    scenario = "old-generations"
    fast = True

    def inject(self, machine: Machine) -> None:
        """Let a collector delete a package that the guest has twice."""
        program(
            machine,
            COLLECTOR,
            f"{_REAL}\n"
            "victim=$(readlink -f /run/current-system/sw/bin/sed | cut -d/ -f1-4)\n"
            f'{_WRITABLE}\nrm -rf "$victim"\n{_READ_ONLY}\nexit $status',
        )


class BitFlip(Fault):
    """One byte of a store path changes on the disk."""

    name = "store-path-corrupted"
    source = "nix#15795"
    expects = must_fail(CRITERION, *_VERIFIES)
    scenario = "old-generations"

    def inject(self, machine: Machine) -> None:
        """Change a byte of a list that nothing reads at run time."""
        run(
            machine,
            f"{_WRITABLE}\n"
            "file=$(find $(readlink -f /run/current-system/kernel-modules)/lib/modules"
            " -name modules.order | head -n 1)\n"
            'test -s "$file"\n'
            'printf X | dd of="$file" bs=1 seek=40 conv=notrunc 2>/dev/null\n'
            f"sync\n{_READ_ONLY}",
        )


class DeletedExecutable(Fault):
    """A process runs a program whose store path has been deleted."""

    name = "deleted-executable-runs"
    source = "nix#3542, #13712"
    expects = must_fail(CRITERION, "no process runs or maps a deleted store file")
    scenario = "old-generations"

    def inject(self, machine: Machine) -> None:
        """Run a program out of the store, and delete it."""
        path = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-orphan"
        run(
            machine,
            f"{_WRITABLE}\nmkdir {path}\ncp /usr/bin/sleep {path}/sleep\n"
            # Not before it is executed: an emulated one takes its time.
            "systemd-run --quiet --service-type=exec --unit=orphan"
            f" {path}/sleep infinity\nrm -rf {path}\n{_READ_ONLY}\n"
            "systemctl is-active --quiet orphan",
        )
