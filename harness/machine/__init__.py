"""The machine: a throwaway VM on a site, and the verbs that suites use on it."""

from harness.machine.handle import Machine, Reboot
from harness.machine.lifetimes import launch, launch_microvm, restore, save
from harness.machine.login import log_in
from harness.machine.microvm import HostStore, HostSystem, MicroVm

__all__ = [
    "HostStore",
    "HostSystem",
    "Machine",
    "MicroVm",
    "Reboot",
    "launch",
    "launch_microvm",
    "log_in",
    "restore",
    "save",
]
