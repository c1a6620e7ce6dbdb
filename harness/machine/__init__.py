"""The machine: a throwaway VM on a site, and the verbs that suites use on it."""

from harness.machine.handle import Machine, Reboot
from harness.machine.hooks import NO_HOOKS, Hooks, NoHooks
from harness.machine.lifetimes import adopt, launch, launch_microvm, restore, save
from harness.machine.login import log_in

__all__ = [
    "NO_HOOKS",
    "Hooks",
    "Machine",
    "NoHooks",
    "Reboot",
    "adopt",
    "launch",
    "launch_microvm",
    "log_in",
    "restore",
    "save",
]
