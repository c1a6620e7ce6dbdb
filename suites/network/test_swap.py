"""`swap-keeps-address`: decided by what a LAN client saw, sample by sample."""

import pytest

from harness import (
    OLD,
    TALKER,
    Budgets,
    Fleet,
    Machine,
    MachineFactory,
    NotExercised,
    Recorder,
    Site,
)
from suites.network.checks import address as checks
from suites.network.lan import watch_swap
from suites.network.migration import migration_of
from suites.network.swap import (
    SWITCH,
    at_once,
    carry_out,
    interface,
    must_be_owned,
    names,
    owner,
    pages,
    prepare,
    watched,
)

pytestmark = [pytest.mark.criterion("swap-keeps-address"), pytest.mark.disruptive]


@pytest.mark.stage("onboarded")
@pytest.mark.scenario("swap")
@pytest.mark.fastest
def test_swap_moves_the_address(
    machine_factory: MachineFactory,
    check: Recorder,
    budgets: Budgets,
    fleet: Fleet,
) -> None:
    """The old VM shuts down, and dev takes its address by a switch."""
    carry_out(machine_factory, check, budgets, fleet, at_once)


@pytest.mark.stage("swapped")
@pytest.mark.scenario("reboot-and-dnsmasq")
def test_swapped_address_survives_reboot_and_dnsmasq(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """A reboot of the VM and a restart of dnsmasq change nothing."""
    after = "after the reboot"
    with watch_swap(site, fleet) as swap:
        waits = swap.await_services(dev)
        check.require(checks.answers_beforehand(waits, "before the reboot"))
        key = swap.host_key()
        dev.reboot()
        check.require(checks.answers(swap.await_services(dev), after))
        check(owner(swap, dev, budgets, after))
        check(names(swap, "reboot"))
        # A reboot ends every session; lab has to show the first new one.
        dev.lab.start_session(TALKER)
        check(checks.carries_large(swap.large_answers(dev), after))
        check(pages(swap, dev, after))
        check(checks.host_key_unchanged(key, swap.host_key(), after))
    check(interface(dev, fleet))

    _restart_dnsmasq(site)
    answers = site.dns.query(swap.name), site.dns.query(swap.name, "AAAA")
    check(checks.names_after_restart(*answers, swap.move.final, budgets))


@pytest.mark.criterion("swap-rollback")
@pytest.mark.stage("swapped")
@pytest.mark.scenario("reverse-swap")
def test_reverse_swap_gives_the_address_back(
    machine_factory: MachineFactory,
    site: Site,
    check: Recorder,
    budgets: Budgets,
    fleet: Fleet,
) -> None:
    """Dev returns to its temporary address, and the old VM takes the final one."""
    move = migration_of(fleet)
    # There from the start, so that no build counts as outage, but with its cable out.
    old = machine_factory(stage="cloud", vm=OLD)
    old.block_network()
    dev = machine_factory(stage="swapped", vm=move.vm)
    event = "reverse swap"
    with watch_swap(site, fleet) as swap:
        waits = swap.await_services(dev)
        check.require(checks.answers_beforehand(waits, f"before the {event}"))
        must_be_owned(site, move.final, dev)
        prepare(dev, move.final, move.temporary)
        dev.execute(*SWITCH, timeout=300)
        old.unblock_network()
        check.require(checks.answers(swap.await_services(old), f"after the {event}"))
        owners = swap.owners()
    check(checks.owned_by(owners, old.vm.mac, move.final, f"after the {event}"))
    check(watched(swap, budgets.swap_rollback_s, event))
    swap.draw(check, event, {})
    check(checks.temporary_address_owned(swap.temporary_owners(), dev.vm.mac, move))


def _restart_dnsmasq(site: Site) -> None:
    pid = site.dns.pid
    site.dns.restart()
    if site.dns.pid == pid:
        raise NotExercised("dnsmasq to restart", seen=f"its PID is still {pid}")
