"""The emulator: a pure command line, and a thin shell that runs it."""

from harness.qemu import cmdline, disk, microvm, seed, snapshot
from harness.qemu.cmdline import Disk, MachinePlan, Ram, Share
from harness.qemu.console import Console
from harness.qemu.launch import Emulator, Enter, here, launch
from harness.qemu.lifecycle import Init, Lan, Step, StepLog, Unit
from harness.qemu.qmp import Event, Qmp
from harness.qemu.snapshot import SavedState

__all__ = [
    "Console",
    "Disk",
    "Emulator",
    "Enter",
    "Event",
    "Init",
    "Lan",
    "MachinePlan",
    "Qmp",
    "Ram",
    "SavedState",
    "Share",
    "Step",
    "StepLog",
    "Unit",
    "cmdline",
    "disk",
    "here",
    "launch",
    "microvm",
    "seed",
    "snapshot",
]
