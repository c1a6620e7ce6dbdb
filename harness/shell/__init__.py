"""The shell around a VM: everything that a host does for it, outside of it.

A machine has a shell (`Machine.shell`), and it is one of three:

- `ModuleShell`, the order that the module has: init, tap-up, QEMU, tap-down;
- the same with `shared`'s sidecars, for a guest of microvm.nix on its host's store;
- `UnitShell`, a module's own systemd units (`read`), run by a real systemd.

    verb          what a host does                        raises
    start         init, tap-up, QEMU                      LaunchFailed, GuestFailure
    stop          ask the guest, wait, tap-down           DeadlineExpired
    crash         SIGKILL, tap-down
    restarted     start a QEMU that ended on its own
    deploy        other options, for the next start
    retire        stop, and delete all state
    reset         delete all state, the next start is a first one
    set_link      plug the cable in, or pull it
    weighed       CPU weight, for the length of a `with`  HostError
    close         end what still runs

`log` has the steps that were taken (`StepLog`). A fault of the shell is a subclass of
`AlteredShell` that overrides the verbs which go wrong.
"""

from harness.shell.adopted import UnitShell
from harness.shell.command import CommandLine
from harness.shell.cpu import Cpu
from harness.shell.microvm import HostStore, HostSystem, Shares, shared
from harness.shell.module import ModuleShell
from harness.shell.protocol import AlteredShell, Shell
from harness.shell.recipe import Init, Recipe, check_fits, gateway_of
from harness.shell.steps import Step, StepLog
from harness.shell.units import LoadedUnit, Units, read

__all__ = [
    "AlteredShell",
    "CommandLine",
    "Cpu",
    "HostStore",
    "HostSystem",
    "Init",
    "LoadedUnit",
    "ModuleShell",
    "Recipe",
    "Shares",
    "Shell",
    "Step",
    "StepLog",
    "UnitShell",
    "Units",
    "check_fits",
    "gateway_of",
    "read",
    "shared",
]
