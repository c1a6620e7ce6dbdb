"""The machine: a throwaway VM on a site, and the verbs that suites use on it."""

from harness.machine.handle import Machine, Reboot
from harness.machine.lifetimes import launch, thaw
from harness.machine.login import log_in

__all__ = ["Machine", "Reboot", "launch", "log_in", "thaw"]
