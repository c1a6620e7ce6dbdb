"""`swap-keeps-address`: decided by what a LAN client saw, sample by sample."""

import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from harness import (
    OLD,
    TALKER,
    Budgets,
    Check,
    Fleet,
    Machine,
    MachineFactory,
    NotExercised,
    Recorder,
    Site,
    address_changed,
)
from suites.network.checks import address as checks
from suites.network.lan import SwapWatch, watch_swap
from suites.network.migration import migration_of

pytestmark = [pytest.mark.criterion("swap-keeps-address"), pytest.mark.disruptive]

_SWITCH = ("/nix/var/nix/profiles/system/bin/switch-to-configuration", "switch")


@pytest.mark.stage("onboarded")
@pytest.mark.scenario("swap")
@pytest.mark.fastest
def test_swap_moves_the_address(
    machine_factory: MachineFactory,
    site: Site,
    check: Recorder,
    budgets: Budgets,
    fleet: Fleet,
) -> None:
    """The old VM shuts down, and dev takes its address by a switch."""
    move = migration_of(fleet)
    old = machine_factory(stage="cloud", vm=OLD)
    dev = machine_factory(stage="onboarded", vm=move.vm)
    boot_id = dev.boot_id
    with watch_swap(site, fleet) as swap:
        waits = swap.await_services(old)
        check.require(checks.answers_beforehand(waits, "before the swap"))
        _must_be_owned(site, move.final, old)
        _prepare(dev, move.temporary, move.final)
        moments = {"old VM shuts down": time.monotonic()}
        old.shutdown()
        moments["dev switches"] = time.monotonic()
        switched = dev.execute(*_SWITCH, timeout=300)
        moments["switched"] = time.monotonic()
        after = "after the swap"
        check.require(checks.answers(swap.await_services(dev), after))
        check(_owner(swap, dev, budgets, after))
        check(_pages(swap, dev, after))
    check(checks.switched(switched.rc, switched.output))
    check(_watched(swap, budgets.swap_outage_s, "swap"))
    swap.draw(check, "swap", moments)
    check(checks.not_rebooted(boot_id, dev.boot_id))
    check(_interface(dev, fleet))


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
        check(_owner(swap, dev, budgets, after))
        check(_names(swap, "reboot"))
        # A reboot ends every session; lab has to show the first new one.
        dev.lab.start_session(TALKER)
        check(checks.carries_large(swap.large_answers(dev), after))
        check(_pages(swap, dev, after))
        check(checks.host_key_unchanged(key, swap.host_key(), after))
    check(_interface(dev, fleet))

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
        _must_be_owned(site, move.final, dev)
        _prepare(dev, move.final, move.temporary)
        dev.execute(*_SWITCH, timeout=300)
        old.unblock_network()
        check.require(checks.answers(swap.await_services(old), f"after the {event}"))
        owners = swap.owners()
    check(checks.owned_by(owners, old.vm.mac, move.final, f"after the {event}"))
    check(_watched(swap, budgets.swap_rollback_s, event))
    swap.draw(check, event, {})
    check(checks.temporary_address_owned(swap.temporary_owners(), dev.vm.mac, move))


def _owner(
    swap: SwapWatch, dev: Machine, budgets: Budgets, during: str
) -> Iterator[Check]:
    """Ask the LAN who has the addresses, now that dev should have the final one."""
    mac = dev.vm.mac
    yield checks.owned_by(swap.owners(), mac, swap.move.final, during)
    yield checks.temporary_address_free(swap.temporary_owners(), swap.move, during)
    found = swap.converge(mac, budgets.neighbour_convergence_s)
    yield from checks.neighbours_converge(found, mac, budgets, during)


def _pages(swap: SwapWatch, dev: Machine, during: str) -> Iterator[Check]:
    """Fetch lab's page from everywhere on the LAN."""
    sessions = dev.lab.state().sessions
    yield checks.has_sessions(sessions, during)
    for client, answer in swap.pages().items():
        yield from checks.serves_lab(answer, sessions, client, during)


def _watched(swap: SwapWatch, limit: float, during: str) -> Iterator[Check]:
    """Judge what the watchers of address and name saw over an event."""
    yield from checks.outages(swap.samples(), swap.probes, limit, during)
    yield _names(swap, during)


def _names(swap: SwapWatch, during: str) -> Check:
    return checks.names_lead_to(swap.dns_samples(), swap.name, swap.move.final, during)


def _interface(dev: Machine, fleet: Fleet) -> Iterator[Check]:
    """Ask dev for its own addresses and routes."""
    state, move = dev.network.state(), migration_of(fleet)
    gateways = [route.gateway for route in state.default_routes]
    return checks.interface_configured(
        state.addresses, gateways, move.final, fleet.network.gateway
    )


def _prepare(dev: Machine, old: IPv4Address, new: IPv4Address) -> None:
    """Build dev's next generation beforehand: only its activation is the swap.

    A swap by a plain `nixos-rebuild switch` adds its build to the outage.
    """
    built = address_changed(dev, old, new, verb="boot")
    if not built.succeeded:
        raise NotExercised(
            f"dev's generation with {new} to be built", seen=built.output[-1500:]
        )


def _restart_dnsmasq(site: Site) -> None:
    pid = site.dns.pid
    site.dns.restart()
    if site.dns.pid == pid:
        raise NotExercised("dnsmasq to restart", seen=f"its PID is still {pid}")


def _must_be_owned(site: Site, address: IPv4Address, machine: Machine) -> None:
    """Raise NotExercised where the address is not this machine's before it moves."""
    owners = site.client.arping(address, window=1.0)
    if owners != {machine.vm.mac}:
        raise NotExercised(
            f"{machine.vm.mac} ({machine.name}) to have {address} beforehand",
            seen=f"{', '.join(sorted(owners)) or 'no MAC'} answered for it",
        )
