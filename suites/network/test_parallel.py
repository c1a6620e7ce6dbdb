"""`parallel-on-temporary-ip`: dev is validated while the old VM still serves.

The old VM keeps the final address. Whatever happens to dev on the temporary one, the
LAN loses no answer of the old VM, and the name keeps pointing at it.
"""

import pytest

from harness import (
    OLD,
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
    observe_bystander,
)
from suites.network.checks import address as checks
from suites.network.lan import SwapWatch, watch_swap
from suites.network.migration import migration_of

pytestmark = [pytest.mark.criterion("parallel-on-temporary-ip"), pytest.mark.disruptive]


@pytest.mark.stage("onboarded")
@pytest.mark.scenario("switch-and-reboot")
def test_switch_and_reboot_next_to_the_old_vm(
    machine_factory: MachineFactory,
    site: Site,
    check: Recorder,
    budgets: Budgets,
    fleet: Fleet,
) -> None:
    """Dev comes up, switches to another system, and reboots into it."""
    old = machine_factory(stage="cloud", vm=OLD)
    with watch_swap(site, fleet) as swap:
        watched = _watch_old_vm(old, swap, check)
        watched.note("dev comes up")
        dev = machine_factory(vm=swap.move.vm)
        _must_be_apart(swap, dev, old)
        watched.note("dev switches")
        _switch(dev, fleet)
        _judge_old_vm(check, watched, budgets)
        watched.note("dev reboots")
        dev.reboot()
        dev.wait_for_open_port(22)
        _must_be_apart(swap, dev, old)
        _judge_old_vm(check, watched, budgets)
    _judge_the_lan(check, watched, swap)


@pytest.mark.stage("cloud")
@pytest.mark.scenario("crash")
def test_crash_next_to_the_old_vm(
    machine_factory: MachineFactory,
    site: Site,
    check: Recorder,
    budgets: Budgets,
    fleet: Fleet,
) -> None:
    """Dev crashes, and is recreated from its image."""
    old = machine_factory(stage="cloud", vm=OLD)
    dev = machine_factory(vm=migration_of(fleet).vm)
    with watch_swap(site, fleet) as swap:
        watched = _watch_old_vm(old, swap, check)
        _must_be_apart(swap, dev, old)
        boot_id = dev.boot_id
        watched.note("dev crashes")
        dev.crash()
        _judge_old_vm(check, watched, budgets)
        watched.note("dev is recreated")
        machine_factory.recreate(dev)
        if dev.boot_id == boot_id:
            raise NotExercised("dev to boot", seen=f"its boot ID is still {boot_id}")
        dev.wait_for_open_port(22)
        _must_be_apart(swap, dev, old)
        _judge_old_vm(check, watched, budgets)
    _judge_the_lan(check, watched, swap)


def _watch_old_vm(old: Machine, swap: SwapWatch, check: Recorder) -> Bystander:
    """Wait until the old VM answers on the final address; from then on it must."""
    waits = swap.await_services(old)
    check.require(checks.answers_beforehand(waits, "before dev's first event"))
    kinds = ("ping", "arp", *swap.probes.values())
    return observe_bystander(old, swap.site, swap.address, kinds)


def _switch(dev: Machine, fleet: Fleet) -> None:
    """Switch dev to another generation. Raises NotExercised."""
    before = dev.system.state().current
    rebuilt = dev.system.rebuild("switch", module=fleet.lab.changed(1))
    if not rebuilt.succeeded or dev.system.state().current == before:
        raise NotExercised(
            "dev to switch to another generation", seen=rebuilt.output[-1500:]
        )


def _judge_old_vm(check: Recorder, watched: Bystander, budgets: Budgets) -> None:
    """Judge the old VM so far; stop where it no longer runs."""
    host, during = watched.host(), watched.during
    check.require(bystander_keeps_running(watched.host_before, host, during))
    views = (watched.host_before, host), (watched.guest_before, watched.guest())
    check(bystander_undisturbed(*views, during, budgets))


def _judge_the_lan(check: Recorder, watched: Bystander, swap: SwapWatch) -> None:
    """Judge what the watchers saw, and keep their timelines."""
    during = watched.during
    check(bystander_stays_reachable(watched.traffic()))
    samples = swap.dns_samples()
    check(checks.names_lead_to(samples, swap.name, swap.move.final, during))
    swap.draw(check, during, watched.events)


def _must_be_apart(swap: SwapWatch, dev: Machine, old: Machine) -> None:
    """Raise NotExercised unless dev has the temporary address, and a MAC of its own."""
    owners = swap.temporary_owners()
    if dev.vm.mac not in owners or dev.vm.mac == old.vm.mac:
        answered = ", ".join(sorted(owners)) or "no MAC"
        raise NotExercised(
            f"dev ({dev.vm.mac}) to live on {swap.move.temporary}",
            seen=f"{answered} answered for it, the old VM has {old.vm.mac}",
        )
