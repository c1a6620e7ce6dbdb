"""Ways in which the module around QEMU goes wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.fault.base import Fault, must_fail
from harness.fault.means import follow
from harness.site import layout

if TYPE_CHECKING:
    from harness.machine import Machine
    from harness.qemu import MachinePlan

CRASH = ("suites/shell/test_lifecycle.py::test_crash_and_second_start",)
SIZE = ("suites/shell/test_options.py::test_memory_and_cpus",)


class DiskRecreated(Fault):
    """Data loss, at the first restart."""

    name = "init-recreates-the-disk"
    story = "init makes the disk anew at the second start, all data is lost"
    source = "microvm.nix#461"
    expects = must_fail(
        "shell-lifecycle",
        "what the guest wrote is still there",
        "init says that it found everything",
    )
    tests = CRASH

    def wake(self, machine: Machine) -> None:
        """Take the disk away before the second start."""
        follow(machine, "crash", machine.recipe.disk.unlink)


class TapLeft(Fault):
    """The next start would find it busy."""

    name = "tap-left-after-crash"
    story = "tap-down does not run after a crash, the tap stays behind"
    source = "aleph-vm#596; nixpkgs#27070"
    expects = must_fail("shell-lifecycle", "no tap is left")
    tests = CRASH

    def wake(self, machine: Machine) -> None:
        """Put the tap back after the crash."""
        script = layout.tap_up_script(layout.tap_name(machine.name))

        def leave() -> None:
            machine.site.capsule.script(script, "a tap to be left behind")

        follow(machine, "crash", leave)


class Resized(Fault):
    """A machine of another size than the spec's, from its next boot on."""

    expects = must_fail("shell-options", "mem")
    tests = SIZE

    def wake(self, machine: Machine) -> None:
        """Boot it in its other size."""
        machine.crash()
        machine.start()


class MemoryIgnored(Resized):
    """It takes what it always took."""

    name = "memory-ignored"
    story = "the VM gets less memory than its option says"
    source = "QEMU documentation, -m and -smp: what is not given has a default"

    def plan(self, plan: MachinePlan) -> MachinePlan:
        """Give it three quarters."""
        return plan if plan.incoming else replace(plan, mem=plan.mem * 3 // 4)


class CpusIgnored(Resized):
    """The same for its processors."""

    name = "vcpu-ignored"
    story = "the VM gets one processor whatever its option says"
    source = "QEMU documentation, -m and -smp: what is not given has a default"
    expects = must_fail("shell-options", "vcpu")

    def plan(self, plan: MachinePlan) -> MachinePlan:
        """Give it one."""
        return plan if plan.incoming else replace(plan, vcpu=1)
