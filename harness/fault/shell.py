"""Ways in which the module around QEMU goes wrong."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from signal import SIGTERM
from typing import TYPE_CHECKING

from typing_extensions import override

from harness.fault.base import Fault, must_fail
from harness.fault.means import LeavesTap
from harness.fault.network import claim
from harness.qemu import seed
from harness.shell import AlteredShell, gateway_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from harness.deadline import Deadline
    from harness.fleet import Fleet
    from harness.machine import Machine
    from harness.qemu import MachinePlan
    from harness.shell import Shell
    from harness.site import Site


_NOT_GROWN = """\
#cloud-config
growpart: {mode: "off"}
resize_rootfs: false
"""


class DiskRecreated(Fault):
    """Init makes a new disk at the second start, all data is lost."""

    name = "init-recreates-the-disk"
    source = "microvm.nix#461"
    expects = must_fail(
        "shell-lifecycle",
        "data from before a crash is on the disk",
        "init reports that the disk is already present",
    )
    scenario = "crash"

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Delete the disk before the second start."""
        _ = site
        return _LosesDisk(shell)


class _LosesDisk(AlteredShell):
    @override
    def crash(self) -> None:
        super().crash()
        self.disk.unlink()


class TapLeft(Fault):
    """Tap-down does not run after a crash, the tap stays behind."""

    name = "tap-left-after-crash"
    source = "aleph-vm#596; nixpkgs#27070"
    expects = must_fail("shell-lifecycle", "no tap is left")
    scenario = "crash"

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Put the tap back after the crash."""
        return LeavesTap(shell, site)


class PowerCut(Fault):
    """Stopping the unit sends QEMU SIGTERM, of which the guest never hears."""

    name = "stop-is-a-power-cut"
    source = "d2b#100; ghaf#1958; qemu(1), system emulation (SIGTERM ends it at once)"
    expects = must_fail("shell-lifecycle", "the guest shuts down when its unit stops")
    scenario = "stop"

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Signal QEMU instead of asking the guest."""
        _ = site
        return _CutsPower(shell)


class _CutsPower(AlteredShell):
    @override
    def stop(self, deadline: Deadline) -> None:
        self.emulator.signal(SIGTERM)
        self.emulator.wait_end(deadline)
        self.close()


class RebootEnds(Fault):
    """QEMU has -no-reboot, and nothing starts it again when the guest reboots."""

    name = "reboot-ends-the-machine"
    source = "microvm.nix lib/runners/qemu.nix (-no-reboot); penguin#884"
    expects = must_fail("shell-lifecycle", "a reboot from inside comes back")
    scenario = "reboot"

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Add the option, which no saved state knows of."""
        return replace(plan, extra=(*plan.extra, "-no-reboot"))


class DeployRestarts(Fault):
    """A deploy of the host restarts the VM, although its guest did not change."""

    name = "host-deploy-restarts-the-vm"
    source = "microvm.nix#104, #283, #286"
    expects = must_fail(
        "shell-lifecycle", "a deploy of the host leaves the machine running"
    )
    scenario = "deploy"

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Stop and start it, as a unit without restartIfChanged = false would be."""
        _ = site
        return _Restarts(shell)


class _Restarts(AlteredShell):
    @override
    def deploy(self, options: Mapping[str, object], deadline: Deadline) -> None:
        super().deploy(options, deadline)
        self.stop(deadline)
        self.start(deadline)


class Resized(Fault):
    """A machine of another size than the spec's, from its next boot on."""

    expects = must_fail("shell-options", "the guest has the memory that mem says")
    scenario = "mem"

    def inject(self, machine: Machine) -> None:
        """Boot it in its other size."""
        machine.crash()
        machine.start()


class MemoryIgnored(Resized):
    """The VM gets less memory than its option says."""

    name = "memory-ignored"
    source = "QEMU documentation, -m and -smp: what is not given has a default"

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Give it three quarters."""
        return plan if plan.incoming else replace(plan, mem=plan.mem * 3 // 4)


class CpusIgnored(Resized):
    """The VM gets one processor, its option says more."""

    name = "vcpu-ignored"
    source = "QEMU documentation, -m and -smp: what is not given has a default"
    expects = must_fail("shell-options", "the guest has the processors that vcpu says")
    scenario = "vcpu"

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Give it one."""
        return plan if plan.incoming else replace(plan, vcpu=1)


class NotGrown(Fault):
    """Cloud-init neither grows the root partition nor its file system."""

    name = "growpart-off"
    source = "cloud-init documentation, growpart: mode; e2fsprogs (inodes by size)"
    expects = must_fail("shell-options", "the root file system is grown into the disk")
    scenario = "disk"

    def alter_spec(self, fleet: Fleet) -> Fleet:
        """Say so in dev's user-data."""
        vm = fleet.vms["dev"]
        given = vm.cloud_init.model_copy(update={"user_data": _NOT_GROWN})
        vms = {**fleet.vms, "dev": vm.model_copy(update={"cloud_init": given})}
        return fleet.model_copy(update={"vms": vms})


class WeightIgnored(Fault):
    """The machine's weight never reaches the control group that QEMU is in."""

    name = "cpu-weight-ignored"
    source = "containers/qm#748; superserve sandbox#373"
    expects = must_fail("shell-options", "the CPU share follows cpuWeight")
    scenario = "cpuWeight"
    machines = frozenset({"dev", "openclaw"})

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Give it no weight of its own."""
        _ = site
        return _Weightless(shell)


class _Weightless(AlteredShell):
    @override
    def weighed(self, weight: int) -> AbstractContextManager[None]:
        _ = weight
        return nullcontext()


class AutostartIgnored(Fault):
    """A VM comes up with the host although its autostart is false."""

    name = "autostart-ignored"
    source = "microvm.nix#509 (autostart after its removal from the configuration)"
    expects = must_fail("shell-options", "a VM without autostart stays down")
    scenario = "autostart"

    @contextmanager
    def alter_network(self, site: Site) -> Iterator[None]:
        """Have a host with openclaw's address there from the start."""
        with ExitStack() as stack:
            claim(stack, site, site.network.hosts["openclaw.cloonar.com"])
            yield


class NewInstance(Fault):
    """The second boot finds a seed with another instance-id."""

    name = "instance-id-changes"
    source = "cloud-init#3753, #2742; srvos#148"
    expects = must_fail(
        "shell-options",
        "the second boot keeps ssh host keys",
        "first-boot modules do not run again",
    )
    scenario = "two-boots"

    def inject(self, machine: Machine) -> None:
        """Have the other seed at hand."""
        files = seed.contents(machine.vm, gateway_of(machine.site))
        old = seed.instance_id(machine.vm)
        files["meta-data"] = files["meta-data"].replace(old, f"{old}-anew")
        seed.write(machine.directory / "anew.iso", files)

    def alter_command_line(self, plan: MachinePlan) -> MachinePlan:
        """Boot with it; a saved machine goes on with the one it had."""
        if plan.incoming:
            return plan
        return replace(plan, seed=plan.directory / "anew.iso")
