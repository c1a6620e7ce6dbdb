"""The microvm: the state before the migration, as a variant of the system.

Nothing in the guest is broken here. It is a guest of astro/microvm.nix, on a host that
boots its own kernel and collects the store paths for which it has no root.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from harness.errors import MachineError
from harness.fault import boot, inodes, store
from harness.fault.base import Fault, must_fail
from harness.fault.means import run

if TYPE_CHECKING:
    from harness.machine import Machine
    from harness.shell import HostStore

_READS = "every file of every live closure reads back"


class SharedStore(Fault):
    """The host collects its garbage, and the guest has some of it in use."""

    name = "shared-store-host-gc"
    source = "microvm.nix#466, #134, #364; kernel fs/overlayfs/super.c"
    expects = must_fail(store.CRITERION, _READS)
    scenario: ClassVar[str | tuple[str, ...]] = "old-generations"
    microvm = True

    def inject(self, machine: Machine) -> None:
        """Use a tool of the host's that the host has no root for."""
        tool = _store(machine).host.tool
        run(
            machine,
            f"systemd-run --quiet --unit=devshell {tool}/bin/devshell-tool\n"
            "sleep 1\nsystemctl is-active --quiet devshell",
        )

    def after_collection(self, machine: Machine) -> None:
        """Have the host collect when the guest has."""
        _store(machine).collect_garbage()


def _store(machine: Machine) -> HostStore:
    store = machine.shell.host_store
    if store is None:
        raise MachineError(f"{machine.name} runs on no host's store")
    return store


class SharedHost(SharedStore):
    """The guest is still a microvm: the host's kernel and store, a small root."""

    name = "microvm"
    source = "microvm.nix lib/runners/qemu.nix, doc/src/shares.md; #466, #283, #50"
    expects = MappingProxyType(
        {
            **must_fail(store.CRITERION, _READS),
            **must_fail(
                boot.CRITERION,
                "QEMU boots no kernel from the host",
                "the expected generation is booted",
            ),
            **must_fail(inodes.CRITERION, "bytes per inode fit a Nix store"),
        }
    )
    scenario = ("layout", "old-generations", "new-kernel")
