"""The emulator: a pure command line, and a thin shell that runs it."""

from harness.qemu import cmdline, disk, microvm, qmp, seed, snapshot
from harness.qemu.cmdline import Disk, MachinePlan, Ram, Share
from harness.qemu.console import Console
from harness.qemu.launch import Emulator, Ended, Enter, here, launch, peer
from harness.qemu.qmp import Event, Qmp
from harness.qemu.snapshot import SavedState

__all__ = [
    "Console",
    "Disk",
    "Emulator",
    "Ended",
    "Enter",
    "Event",
    "MachinePlan",
    "Qmp",
    "Ram",
    "SavedState",
    "Share",
    "cmdline",
    "disk",
    "here",
    "launch",
    "microvm",
    "peer",
    "qmp",
    "seed",
    "snapshot",
]
