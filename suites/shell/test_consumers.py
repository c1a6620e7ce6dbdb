"""`two-consumers`: two machines of one module, each independent of the other."""

from collections.abc import Sequence
from itertools import combinations

import pytest

from harness import (
    Budgets,
    Bystander,
    Fleet,
    Machine,
    MachineFactory,
    NotExercised,
    Recorder,
    Site,
    bystander_keeps_running,
    bystander_stays_reachable,
    bystander_undisturbed,
    describe,
    watch_bystander,
)
from suites.shell.checks import consumers as checks
from suites.shell.pair import consumers

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
    """The two share nothing that identifies a machine."""
    machines = [machine_factory(vm=name) for name in consumers(fleet)]
    identities = {machine.name: _identity(machine) for machine in machines}
    for (one, own), (other, theirs) in combinations(identities.items(), 2):
        check(checks.share_nothing(one, own, other, theirs))
    for machine in machines:
        owners = site.client.arping(machine.vm.ip, window=1.0)
        check(checks.answers_alone(owners, machine.vm))
    _judge_taps(check, site, machines, "both machines run")


@pytest.mark.scenario("first-changes")
def test_first_leaves_second_alone(
    machine_factory: MachineFactory, site: Site, check: Recorder, fleet: Fleet
) -> None:
    """Stopped, started, crashed and recreated: its neighbour notices nothing."""
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
    _judge_taps(check, site, [machine, bystander], f"after {name} was recreated")


def _judge_taps(
    check: Recorder, site: Site, machines: Sequence[Machine], during: str
) -> None:
    expected = [machine.tap for machine in machines]
    check(checks.taps_on_bridge(during, site.taps(), site.ports(), expected))


def _must_be_undisturbed(check: Recorder, watched: Bystander, budgets: Budgets) -> None:
    """Judge the bystander so far; stop where it no longer runs."""
    host, during = watched.host(), watched.during
    check.require(bystander_keeps_running(watched.host_before, host, during))
    views = (watched.host_before, host), (watched.guest_before, watched.guest())
    check(bystander_undisturbed(*views, during, budgets))


def _must_have_lived(machine: Machine, first: str, second: str) -> None:
    """Raise NotExercised where the machine was not stopped, crashed and recreated."""
    ends = [s.detail for s in machine.steps.taken if s.name == "qemu-end"]
    if len(ends) != 2 or "on its own" not in ends[0] or "SIGKILL" not in ends[1]:
        raise NotExercised(
            f"{machine.name} to stop, then to crash",
            seen=f"its QEMU ended {describe(ends)}",
        )
    third = machine.boot_id
    if len({first, second, third}) != 3:
        raise NotExercised(
            f"{machine.name} to boot three times",
            seen=f"its boot IDs were {first}, {second}, {third}",
        )
    if machine.execute("test", "-e", _CANARY).succeeded:
        raise NotExercised(
            f"{machine.name} to be recreated", seen=f"it still has {_CANARY}"
        )


def _identity(machine: Machine) -> dict[str, frozenset[object]]:
    """Gather what identifies a machine, in the guest and on the host."""
    plan = machine.emulator.plan
    sockets = (plan.console_socket, plan.agent_socket, plan.monitor_socket)
    network = machine.network.state()
    key = machine.read_file("/etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    instance = machine.read_file("/var/lib/cloud/data/instance-id").strip()
    return {
        "MAC address": frozenset(link.mac for link in network.nics),
        "IP address": frozenset(network.addresses),
        "machine-id": frozenset([machine.read_file("/etc/machine-id").strip()]),
        "ssh host key": frozenset([key]),
        "instance-id": frozenset([instance]),
        "host name": frozenset([machine.read_file("/etc/hostname").strip()]),
        "tap": frozenset([machine.tap]),
        "state directory": frozenset([machine.directory]),
        "socket": frozenset(sockets),
        "QEMU process": frozenset([machine.emulator.pid]),
        "disk": frozenset([machine.disk]),
    }
