"""The emulator: a pure command line, and a thin shell that runs it."""

from harness.qemu import cmdline
from harness.qemu.cmdline import Disk, MachinePlan, Ram, Share
from harness.qemu.console import Console
from harness.qemu.launch import Emulator, Enter, here, launch
from harness.qemu.qmp import Event, Qmp

__all__ = [
    "Console",
    "Disk",
    "Emulator",
    "Enter",
    "Event",
    "MachinePlan",
    "Qmp",
    "Ram",
    "Share",
    "cmdline",
    "here",
    "launch",
]
