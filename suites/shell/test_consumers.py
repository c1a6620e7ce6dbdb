"""`two-consumers`: two machines of one module, each with a life of its own."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from harness import (
    NotExercised,
    bystander_keeps_running,
    bystander_stays_reachable,
    bystander_undisturbed,
    watch_bystander,
)
from suites.shell.pair import consumers

if TYPE_CHECKING:
    from harness import (
        Budgets,
        Bystander,
        Fleet,
        Machine,
        MachineFactory,
        Recorder,
        Site,
    )

pytestmark = [
    pytest.mark.criterion("two-consumers"),
    pytest.mark.stage("cloud"),
    pytest.mark.disruptive,
]

_CANARY = "/root/canary"


@pytest.mark.scenario("identities")
def test_identities_differ(
    machine_factory: MachineFactory, site: Site, check: Recorder, fleet: Fleet
) -> None:
    """Nothing by which one could be taken for the other is shared."""
    machines = [machine_factory(vm=name) for name in consumers(fleet)]
    identities = [_identity(machine) for machine in machines]
    for one, other in combinations(identities, 2):
        for name, own in one.items():
            told = " and ".join(str(sorted(map(str, i[name]))) for i in (one, other))
            check.check(name, own and own.isdisjoint(other[name]), told)
    for machine in machines:
        owners = site.client.arping(machine.vm.ip, window=1.0)
        check.check(
            "each answers for its own address, alone",
            owners == {machine.vm.mac},
            f"{sorted(owners)} answer for {machine.vm.ip} of {machine.name}, "
            f"the spec has {machine.vm.mac}",
        )
    taps = sorted(machine.tap for machine in machines)
    check.check(
        "each has its tap on the bridge",
        site.taps() == taps and set(taps) <= site.ports().keys(),
        f"taps {site.taps()}, on the bridge {sorted(site.ports())}, expected {taps}",
    )


@pytest.mark.scenario("first-changes")
def test_first_leaves_second_alone(
    machine_factory: MachineFactory, site: Site, check: Recorder, fleet: Fleet
) -> None:
    """Stopped, started, crashed and made anew: its neighbour notices nothing."""
    first, second = consumers(fleet)
    _live(machine_factory, first, second, site, check, fleet)


@pytest.mark.thorough
@pytest.mark.scenario("second-changes")
def test_second_leaves_first_alone(
    machine_factory: MachineFactory, site: Site, check: Recorder, fleet: Fleet
) -> None:
    """The same the other way round."""
    first, second = consumers(fleet)
    _live(machine_factory, second, first, site, check, fleet)


def _live(
    machine_factory: MachineFactory,
    name: str,
    other: str,
    site: Site,
    check: Recorder,
    fleet: Fleet,
) -> None:
    """Take one machine through its life while the other is under traffic."""
    bystander = machine_factory(vm=other)
    machine = machine_factory(vm=name)
    machine.write_file(_CANARY, machine.boot_id)
    machine.succeed("sync")
    with watch_bystander(bystander, site) as watched:
        watched.note(f"{name} stops")
        first = machine.boot_id
        machine.shutdown()
        watched.note(f"{name} starts")
        machine.start()
        second = machine.boot_id
        watched.note(f"{name} crashes")
        machine.crash()
        _must_be_undisturbed(check, watched, fleet.budgets)
        watched.note(f"{name} is recreated")
        machine_factory.recreate(machine)
        _must_be_undisturbed(check, watched, fleet.budgets)
    _must_have_lived(machine, first, second)
    check(bystander_stays_reachable(watched.traffic()))
    watched.draw(check, f"{name} changes")
    check.check(
        "each has its tap on the bridge",
        site.taps() == sorted([machine.tap, bystander.tap]),
        f"taps {site.taps()} after all that",
    )


def _must_be_undisturbed(check: Recorder, watched: Bystander, budgets: Budgets) -> None:
    """Judge the bystander so far; stop where it no longer runs."""
    host, during = watched.host(), watched.during
    check.require(bystander_keeps_running(watched.host_before, host, during))
    views = (watched.host_before, host), (watched.guest_before, watched.guest())
    check(bystander_undisturbed(*views, during, budgets))


def _must_have_lived(machine: Machine, first: str, second: str) -> None:
    """Tell a life from a machine that nothing happened to."""
    ends = [s.detail for s in machine.steps.taken if s.name == "qemu-end"]
    if len(ends) != 2 or "by itself" not in ends[0] or "SIGKILL" not in ends[1]:
        raise NotExercised(f"{machine.name} stopped, then crashed", seen=str(ends))
    third = machine.boot_id
    if len({first, second, third}) != 3:
        raise NotExercised(
            f"{machine.name} booted three times", seen=f"{first}, {second}, {third}"
        )
    if machine.execute("test", "-e", _CANARY).succeeded:
        raise NotExercised(f"{machine.name} was made anew", seen="its files are there")


def _identity(machine: Machine) -> dict[str, frozenset[object]]:
    """Gather what tells a machine from another, by the check that demands it."""
    plan = machine.emulator.plan
    sockets = (plan.console_socket, plan.agent_socket, plan.monitor_socket)
    network = machine.network.state()
    key = machine.read_file("/etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    return {
        "each has a MAC of its own": frozenset(link.mac for link in network.nics),
        "each has an address of its own": frozenset(network.addresses),
        "each has a machine-id of its own": frozenset(
            [machine.read_file("/etc/machine-id").strip()]
        ),
        "each has an ssh host key of its own": frozenset([key]),
        "each has an instance-id of its own": frozenset(
            [machine.read_file("/var/lib/cloud/data/instance-id").strip()]
        ),
        "each has a host name of its own": frozenset(
            [machine.read_file("/etc/hostname").strip()]
        ),
        "each has a tap of its own": frozenset([machine.tap]),
        "each has a state directory of its own": frozenset([machine.directory]),
        "each has sockets of its own": frozenset(sockets),
        "each has a QEMU of its own": frozenset([machine.emulator.pid]),
        "each has a disk of its own": frozenset([machine.disk]),
    }
