"""`parallel-on-temporary-ip`: dev's first days beside the VM that it will replace.

The old VM keeps the final address. Whatever dev goes through on the temporary one, the
LAN loses not one answer of the old VM, and no name points anywhere else.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from harness import OLD, NotExercised, observe_bystander
from suites.network.observe import migration_of, watch_swap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Bystander, Fleet, Machine, MachineFactory, Recorder, Site
    from suites.network.observe import Swap

pytestmark = [pytest.mark.criterion("parallel-on-temporary-ip"), pytest.mark.disruptive]


@pytest.mark.stage("onboarded")
@pytest.mark.scenario("switch-and-reboot")
def test_switch_and_reboot_beside_the_old_vm(
    machine_factory: MachineFactory, site: Site, check: Recorder, fleet: Fleet
) -> None:
    """Dev comes up, switches to another system, and reboots into it."""
    old = machine_factory(stage="cloud", vm=OLD)
    with old_vm_watched(old, site, check, fleet) as (beholder, swap):
        beholder.note("dev comes up")
        dev = machine_factory(vm=swap.move.vm)
        _must_be_apart(site, swap, dev, old)
        beholder.note("dev switches")
        before = dev.system.state().current
        rebuilt = dev.system.rebuild("switch", module=fleet.lab.changed(1))
        if not rebuilt.succeeded or dev.system.state().current == before:
            raise NotExercised("dev switched", seen=rebuilt.output[-1500:])
        beholder.judge()
        beholder.note("dev reboots")
        dev.reboot()
        dev.wait_for_open_port(22)
        _must_be_apart(site, swap, dev, old)
        beholder.judge()
    _judge_the_lan(beholder, swap, "a switch and a reboot of dev")


@pytest.mark.stage("cloud")
@pytest.mark.scenario("crash")
def test_crash_beside_the_old_vm(
    machine_factory: MachineFactory, site: Site, check: Recorder, fleet: Fleet
) -> None:
    """Dev crashes, and is made anew from nothing."""
    old = machine_factory(stage="cloud", vm=OLD)
    dev = machine_factory(vm=migration_of(fleet).vm)
    with old_vm_watched(old, site, check, fleet) as (beholder, swap):
        _must_be_apart(site, swap, dev, old)
        boot_id = dev.boot_id
        beholder.note("dev crashes")
        dev.crash()
        beholder.judge()
        beholder.note("dev is made anew")
        machine_factory.recreate(dev)
        if dev.boot_id == boot_id:
            raise NotExercised("dev was made anew", seen=f"boot id {boot_id}")
        dev.wait_for_open_port(22)
        _must_be_apart(site, swap, dev, old)
        beholder.judge()
    _judge_the_lan(beholder, swap, "a crash of dev")


@contextmanager
def old_vm_watched(
    old: Machine, site: Site, check: Recorder, fleet: Fleet
) -> Iterator[tuple[Bystander, Swap]]:
    """Watch the old VM, its address and its name while dev lives beside it."""
    with watch_swap(site, check, fleet) as swap:
        swap.await_service(old, "before dev is there")
        kinds = ("ping", "arp", *swap.probes)
        yield (
            observe_bystander(old, site, check, swap.address, kinds, fleet.budgets),
            swap,
        )


def _judge_the_lan(beholder: Bystander, swap: Swap, event: str) -> None:
    beholder.judge_probes()
    swap.judge_names(event)
    swap.draw(event, beholder.events)


def _must_be_apart(site: Site, swap: Swap, dev: Machine, old: Machine) -> None:
    """Tell two machines on two addresses from one that has not come up yet."""
    owners = site.client.arping(swap.move.temporary, window=1.0)
    if dev.vm.mac not in owners or dev.vm.mac == old.vm.mac:
        raise NotExercised(
            f"dev lives on {swap.move.temporary}", seen=f"{sorted(owners)} answered"
        )
