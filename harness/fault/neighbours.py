"""Ways in which one machine gets at another on the same host."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness.deadline import tick
from harness.fault.base import Fault, must_fail
from harness.fault.means import follow, run
from harness.fault.network import LanFault

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from harness.fleet import Fleet
    from harness.machine import Machine
    from harness.site import Site

CONSUMERS = "two-consumers"
PARALLEL = "parallel-on-temporary-ip"


_SAME_PROCESS = "the bystander's QEMU is the same process"
_NO_LOSS = "not one probe of the bystander is lost"
_PLACES = ("/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub")


class OneMac(Fault):
    """Openclaw's option `mac` is dev's."""

    name = "two-machines-on-one-mac"
    source = "terraform-provider-esxi#54; vm-bhyve#482"
    expects = must_fail(CONSUMERS, "each has a MAC of its own")
    scenario = "identities"

    def alter_spec(self, fleet: Fleet) -> Fleet:
        """Change it behind the back of the spec's own checks, which would refuse it."""
        twin = fleet.vms["openclaw"].model_copy(update={"mac": fleet.vms["dev"].mac})
        return fleet.model_copy(update={"vms": {**fleet.vms, "openclaw": twin}})


class Acquainted(Fault):
    """One that has to do with two machines, the second of which meets the first."""

    machines = frozenset({"dev", "openclaw", "old"})

    def __init__(self) -> None:
        self._met: list[Machine] = []

    def inject(self, machine: Machine) -> None:
        """Wait for the second."""
        self._met.append(machine)
        if len(self._met) == 2:  # noqa: PLR2004 - a pair
            self.meet(*self._met)

    def meet(self, first: Machine, second: Machine) -> None:
        """Do what the fault is about, in the order in which the test got them."""


class Cloned(Acquainted):
    """Openclaw was made from a copy of dev's disk: machine-id, ssh host key."""

    name = "openclaw-is-a-clone-of-dev"
    source = "lxd#7180; carthage#122"
    expects = must_fail(
        CONSUMERS,
        "each has a machine-id of its own",
        "each has an ssh host key of its own",
    )
    scenario = "identities"

    def meet(self, first: Machine, second: Machine) -> None:
        """Copy what tells machines apart."""
        for path in _PLACES:
            second.write_file(path, first.read_file(path))


class RestartedTogether(Acquainted):
    """Both units are part of one: where one ends, the other is started again."""

    name = "crash-of-one-restarts-the-other"
    source = "microvm.nix nixos-modules/host (partOf = microvm@%i)"
    expects = must_fail(CONSUMERS, _SAME_PROCESS)
    scenario = "first-changes"

    def meet(self, first: Machine, second: Machine) -> None:
        """Restart the bystander, which comes first, as the other's crash is over."""

        def restart() -> None:
            first.crash()
            first.start()

        follow(second, "crash", restart)


class SharedInit(Acquainted):
    """One's init is shared, and holds up the other machine for a while."""

    name = "init-of-one-pauses-the-other"
    source = "microvm.nix#283, #286 (units of all VMs restarted with one)"
    expects = must_fail(CONSUMERS, _NO_LOSS)
    scenario = "first-changes"

    def meet(self, first: Machine, second: Machine) -> None:
        """Stop the bystander's processors until the other has started."""
        follow(second, "shutdown", lambda: first.qmp().execute("stop"))
        follow(second, "start", lambda: first.qmp().execute("cont"))


class TapsDropped(Acquainted):
    """The bridge is made anew at a crash, and the other's tap is not put back."""

    name = "bridge-restart-drops-the-taps"
    source = "microvm.nix#400; nixpkgs#198267"
    expects = must_fail(CONSUMERS, _NO_LOSS, "the bystander's tap is on the bridge")
    scenario = "first-changes"

    def meet(self, first: Machine, second: Machine) -> None:
        """Take the bystander's tap off the bridge after the other's crash."""
        drop = f"ip link set {first.tap} nomaster"
        sandbox = first.site.sandbox
        follow(second, "crash", lambda: sandbox.script(drop, "a tap to be dropped"))


class OldTapDropped(TapsDropped):
    """Dev's crash has the bridge made anew, and the old VM's tap is not put back."""

    name = "old-vm-loses-its-bridge"
    source = "fc-nixos#1763; nixpkgs#23241"
    expects = must_fail(PARALLEL, _NO_LOSS, "the bystander's tap is on the bridge")
    scenario = "crash"


class OldStopped(Acquainted):
    """The old VM is stopped while dev is still being validated."""

    name = "old-vm-stopped-too-early"
    source = "microvm.nix#104 (a deploy of the host restarts its VMs)"
    expects = must_fail(PARALLEL, _SAME_PROCESS)
    scenario = "crash"

    def meet(self, first: Machine, second: Machine) -> None:
        """Stop the old VM together with dev's crash."""
        follow(second, "crash", first.crash)


class OldStarved(Acquainted):
    """The host is short of memory while dev starts, and the old VM stands still."""

    name = "dev-starves-the-old-vm"
    source = "the plan's PR1 (memory of both VMs on one host, until the old one goes)"
    expects = must_fail(PARALLEL, _NO_LOSS)
    scenario = "crash"

    def meet(self, first: Machine, second: Machine) -> None:
        """Stop the old VM's processors for two seconds after dev's crash."""

        def starve() -> None:
            first.qmp().execute("stop")
            tick(time.monotonic(), 2.0, 1)
            first.qmp().execute("cont")

        follow(second, "crash", starve)


class Thief(LanFault):
    """Dev has the final address from the start, beside its temporary one."""

    name = "dev-takes-the-final-address"
    source = "resource-agents#124; nixpkgs#315152"
    expects = must_fail(PARALLEL, "only the bystander answers for its address")
    scenario = "switch-and-reboot"

    def inject(self, machine: Machine) -> None:
        """Add it, and tell the LAN; a neighbour that asks gets two answers."""
        prefix = machine.site.network.subnet.prefixlen
        nic = machine.network.state().nics[0].name
        run(machine, f"ip address add {self.move.final}/{prefix} dev {nic}")


class MovedTooEarly(LanFault):
    """DNS names the temporary address as soon as dev is there."""

    name = "dns-moved-too-early"
    source = "dnsmasq(8), --host-record; failures of a two-step deploy in one commit"
    expects = must_fail(PARALLEL, "DNS never gives a wrong or missing answer")
    scenario = "crash"

    def alter_network(self, site: Site) -> AbstractContextManager[object]:
        """Serve the temporary address."""
        site.dns.set(self.name_of(self.move.final, site), self.move.temporary)
        return super().alter_network(site)
