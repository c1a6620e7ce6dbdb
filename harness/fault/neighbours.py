"""Ways in which one machine gets at another on the same host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from typing_extensions import override

from harness.deadline import Deadline, tick
from harness.fault.base import Fault, must_fail
from harness.fault.means import run
from harness.fault.network import LanFault
from harness.shell import AlteredShell

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from harness.fleet import Fleet
    from harness.machine import Machine
    from harness.qemu import Emulator
    from harness.shell import Shell
    from harness.site import Site

CONSUMERS = "two-consumers"
PARALLEL = "parallel-on-temporary-ip"


_SAME_PROCESS = "the bystander's QEMU is the same process"
_NO_LOSS = "every probe of the bystander is answered"
_START_S = 60.0
_PAUSE_S = 2.0
_PLACES = ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub")


class OneMac(Fault):
    """Openclaw's option `mac` is dev's."""

    name = "two-machines-on-one-mac"
    source = "terraform-provider-esxi#54; vm-bhyve#482"
    expects = must_fail(CONSUMERS, "the machines share no MAC address")
    scenario = "identities"

    def alter_spec(self, fleet: Fleet) -> Fleet:
        """Change it behind the back of the spec's own checks, which would refuse it."""
        twin = fleet.vms["openclaw"].model_copy(update={"mac": fleet.vms["dev"].mac})
        return fleet.model_copy(update={"vms": {**fleet.vms, "openclaw": twin}})


class OneHost(Fault):
    """Two machines on one host, of which the second gets at the first."""

    machines = frozenset({"dev", "openclaw", "old"})

    def __init__(self) -> None:
        self._first: Shell | None = None

    def alter_shell(self, shell: Shell, site: Site) -> Shell:
        """Wait for the second, in the order in which the test gets them."""
        if self._first is None:
            self._first = shell
            return shell
        return self.join(self._first, shell, site)

    def join(self, first: Shell, second: Shell, site: Site) -> Shell:
        """Return a shell for the second that does what the fault is about."""
        raise NotImplementedError


class Joined(AlteredShell):
    """The shell of a machine that has another one next to it."""

    def __init__(self, inner: Shell, other: Shell) -> None:
        super().__init__(inner)
        self.other = other


class Cloned(Fault):
    """Openclaw was made from a copy of dev's disk: machine-id, ssh host key."""

    name = "openclaw-is-a-clone-of-dev"
    source = "lxd#7180; carthage#122"
    expects = must_fail(
        CONSUMERS,
        "the machines share no machine-id",
        "the machines share no ssh host key",
    )
    scenario = "identities"

    machines = frozenset({"dev", "openclaw"})

    def __init__(self) -> None:
        self._met: list[Machine] = []

    def inject(self, machine: Machine) -> None:
        """Copy what distinguishes machines from the first one to the second."""
        for first in self._met:
            for path in _PLACES:
                machine.write_file(path, first.read_file(path))
        self._met.append(machine)


class RestartedTogether(OneHost):
    """Both units are part of one: where one ends, the other is started again."""

    name = "crash-of-one-restarts-the-other"
    source = "microvm.nix nixos-modules/host (partOf = microvm@%i)"
    expects = must_fail(CONSUMERS, _SAME_PROCESS)
    scenario = "first-changes"

    def join(self, first: Shell, second: Shell, site: Site) -> Shell:
        """Restart the bystander, which comes first, as the other's crash is over."""
        _ = site
        return _RestartsOther(second, first)


class _RestartsOther(Joined):
    @override
    def crash(self) -> None:
        super().crash()
        self.other.crash()
        self.other.start(Deadline.after(_START_S, "the other's QEMU"))


class SharedInit(OneHost):
    """One's init is shared, and holds up the other machine for a while."""

    name = "init-of-one-pauses-the-other"
    source = "microvm.nix#283, #286 (units of all VMs restarted with one)"
    expects = must_fail(CONSUMERS, _NO_LOSS)
    scenario = "first-changes"

    def join(self, first: Shell, second: Shell, site: Site) -> Shell:
        """Stop the bystander's processors until the other has started."""
        _ = site
        return _HoldsUpOther(second, first)


class _HoldsUpOther(Joined):
    _held = False

    @override
    def stop(self, deadline: Deadline) -> None:
        super().stop(deadline)
        self.other.emulator.qmp.execute("stop")
        self._held = True

    @override
    def start(self, deadline: Deadline) -> Emulator:
        emulator = super().start(deadline)
        if self._held:
            tick(time.monotonic(), _PAUSE_S, 1)
            self.other.emulator.qmp.execute("cont")
            self._held = False
        return emulator


class TapsDropped(OneHost):
    """A crash recreates the bridge, and the other VM's tap is not attached again."""

    name = "bridge-restart-drops-the-taps"
    source = "microvm.nix#400; nixpkgs#198267"
    expects = must_fail(CONSUMERS, _NO_LOSS, "the bystander's tap is on the bridge")
    scenario = "first-changes"

    def join(self, first: Shell, second: Shell, site: Site) -> Shell:
        """Take the bystander's tap off the bridge after the other's crash."""
        return _DropsTap(second, first, site)


class _DropsTap(Joined):
    def __init__(self, inner: Shell, other: Shell, site: Site) -> None:
        super().__init__(inner, other)
        self._site = site

    @override
    def crash(self) -> None:
        super().crash()
        drop = f"ip link set {self.other.tap} nomaster"
        self._site.sandbox.script(drop, "a tap to be dropped")


class OldTapDropped(TapsDropped):
    """Dev's crash recreates the bridge, and the old VM's tap is not attached again."""

    name = "old-vm-loses-its-bridge"
    source = "fc-nixos#1763; nixpkgs#23241"
    expects = must_fail(PARALLEL, _NO_LOSS, "the bystander's tap is on the bridge")
    scenario = "crash"


class OldStopped(OneHost):
    """The old VM is stopped while dev is still being validated."""

    name = "old-vm-stopped-too-early"
    source = "microvm.nix#104 (a deploy of the host restarts its VMs)"
    expects = must_fail(PARALLEL, _SAME_PROCESS)
    scenario = "crash"

    def join(self, first: Shell, second: Shell, site: Site) -> Shell:
        """Stop the old VM together with dev's crash."""
        _ = site
        return _StopsOther(second, first)


class _StopsOther(Joined):
    @override
    def crash(self) -> None:
        super().crash()
        self.other.crash()


class OldStarved(OneHost):
    """The host is short of memory while dev starts, and the old VM stands still."""

    name = "dev-starves-the-old-vm"
    source = "the plan's PR1 (memory of both VMs on one host, until the old one goes)"
    expects = must_fail(PARALLEL, _NO_LOSS)
    scenario = "crash"

    def join(self, first: Shell, second: Shell, site: Site) -> Shell:
        """Stop the old VM's processors for two seconds after dev's crash."""
        _ = site
        return _StarvesOther(second, first)


class _StarvesOther(Joined):
    @override
    def crash(self) -> None:
        super().crash()
        self.other.emulator.qmp.execute("stop")
        tick(time.monotonic(), _PAUSE_S, 1)
        self.other.emulator.qmp.execute("cont")


class Thief(LanFault):
    """Dev has the final address from the start, in addition to its temporary one."""

    name = "dev-takes-the-final-address"
    source = "resource-agents#124; nixpkgs#315152"
    expects = must_fail(PARALLEL, "only the bystander answers for its address")
    scenario = "switch-and-reboot"

    def inject(self, machine: Machine) -> None:
        """Add the address, so that a neighbour that asks gets two answers."""
        prefix = machine.site.network.subnet.prefixlen
        nic = machine.network.state().nics[0].name
        run(machine, f"ip address add {self.move.final}/{prefix} dev {nic}")


class MovedTooEarly(LanFault):
    """DNS names the temporary address as soon as dev is there."""

    name = "dns-moved-too-early"
    source = "dnsmasq(8), --host-record; failures of a two-step deploy in one commit"
    expects = must_fail(PARALLEL, "every DNS answer is the final address")
    scenario = "crash"

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Serve the temporary address."""
        site.dns.set(self.name_of(self.move.final, site), self.move.temporary)
        return super().alter_network(site)
