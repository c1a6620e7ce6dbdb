"""`swap-keeps-address`: decided by what a LAN client saw, sample by sample."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from harness import OLD, TALKER, NotExercised, address_changed
from suites.network.observe import migration_of, watch_swap

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from harness import Budgets, Fleet, Machine, MachineFactory, Recorder, Site

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
    """The old VM goes, dev takes its address by a switch, and nobody is misled."""
    move = migration_of(fleet)
    old = machine_factory(stage="cloud", vm=OLD)
    dev = machine_factory(stage="onboarded", vm=move.vm)
    boot_id = dev.boot_id
    with watch_swap(site, check, fleet) as swap:
        swap.await_service(old, "before the swap")
        _must_be_owned(site, swap.move.final, old)
        _prepare(dev, move.temporary, move.final)
        moments = {"old VM goes": time.monotonic()}
        old.shutdown()
        moments["dev switches"] = time.monotonic()
        switched = dev.execute(*_SWITCH, timeout=300)
        moments["switched"] = time.monotonic()
        swap.await_service(dev, "after the swap")
        swap.judge_owner("swap", dev.vm.mac, budgets.neighbour_convergence_s)
        swap.judge_ingress("swap", dev)
    check.check("the switch succeeds", switched.succeeded, switched.output[-1500:])
    swap.judge_outage("swap", budgets.swap_outage_s)
    swap.judge_names("swap")
    swap.draw("swap", moments)
    check.check(
        "the swap does not reboot dev",
        dev.boot_id == boot_id,
        f"boot id was {boot_id}, is {dev.boot_id}",
    )
    _judge_interface(check, dev, fleet)


@pytest.mark.stage("swapped")
@pytest.mark.scenario("reboot-and-dnsmasq")
def test_swapped_address_survives_reboot_and_dnsmasq(
    dev: Machine, site: Site, check: Recorder, budgets: Budgets, fleet: Fleet
) -> None:
    """After a reboot of the VM and a restart of dnsmasq all is as it was."""
    move = migration_of(fleet)
    with watch_swap(site, check, fleet) as swap:
        swap.await_service(dev, "before the reboot")
        key = swap.host_key()
        dev.reboot()
        swap.await_service(dev, "after the reboot")
        swap.judge_owner("reboot", dev.vm.mac, budgets.neighbour_convergence_s)
        swap.judge_names("reboot")
        # A reboot ends every session; lab has to show the first new one.
        dev.lab.start_session(TALKER)
        swap.judge_large("reboot", dev)
        swap.judge_ingress("reboot", dev)
        again = swap.host_key()
    check.check(
        "the ssh host key stays",
        key and again == key,
        f"{key!r} became {again!r}",
    )
    _judge_interface(check, dev, fleet)

    pid = site.dns.pid
    site.dns.restart()
    if site.dns.pid == pid:
        raise NotExercised("dnsmasq was restarted")
    answer = site.dns.query(swap.name)
    check.check(
        "DNS is right after a restart of dnsmasq",
        answer.addresses == (move.final,),
        f"{swap.name} is {answer}",
    )
    sixth = site.dns.query(swap.name, "AAAA")
    check.check(
        "DNS has no IPv6 address that leads nowhere",
        not sixth.ipv6,
        f"{swap.name} is {sixth.ipv6}; dev has {move.final} alone",
    )
    check.check(
        "DNS answers may not be kept for long",
        answer.ttl is not None and answer.ttl <= budgets.dns_ttl_s,
        f"TTL {answer.ttl} s, budget {budgets.dns_ttl_s} s",
    )


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
    """Going back: dev returns to its temporary address, the old VM takes the final."""
    move = migration_of(fleet)
    # There from the start, so that no build counts as outage, but with its cable out.
    old = machine_factory(stage="cloud", vm=OLD)
    old.block_network()
    dev = machine_factory(stage="swapped", vm=move.vm)
    with watch_swap(site, check, fleet) as swap:
        swap.await_service(dev, "before going back")
        _must_be_owned(site, move.final, dev)
        _prepare(dev, move.final, move.temporary)
        dev.execute(*_SWITCH, timeout=300)
        old.unblock_network()
        swap.await_service(old, "after going back")
        owners = site.client.arping(move.final, window=1.0)
    check.check(
        "exactly one MAC answers for the final address",
        owners == {old.vm.mac},
        f"{sorted(owners)} answer for {move.final}, expected {old.vm.mac}",
    )
    swap.judge_outage("reverse swap", budgets.swap_rollback_s)
    swap.judge_names("reverse swap")
    swap.draw("reverse swap", {})
    check.check(
        "dev answers on its temporary address again",
        site.client.arping(move.temporary) == {dev.vm.mac},
        f"{site.client.arping(move.temporary)} answer for {move.temporary}",
    )


def _prepare(dev: Machine, old: IPv4Address, new: IPv4Address) -> None:
    """Build dev's next generation beforehand: only its activation is the swap.

    Whoever swaps by a plain `nixos-rebuild switch` adds its build to the outage.
    """
    built = address_changed(dev, old, new, verb="boot")
    if not built.succeeded:
        raise NotExercised(f"{new} was built for dev", seen=built.output[-1500:])


def _judge_interface(check: Recorder, dev: Machine, fleet: Fleet) -> None:
    """Hold dev's own view: one NIC, one address, one way out."""
    state, move = dev.network.state(), migration_of(fleet)
    check.check(
        "dev has the final address and no other",
        state.addresses == (move.final,),
        f"addresses: {state.addresses}",
    )
    gateways = [route.gateway for route in state.default_routes]
    check.check(
        "dev has one default route, to the gateway",
        gateways == [str(fleet.network.gateway)],
        f"default routes by {gateways}",
    )


def _must_be_owned(site: Site, address: IPv4Address, machine: Machine) -> None:
    """Tell an address that moved from one that was there all along."""
    owners = site.client.arping(address, window=1.0)
    if owners != {machine.vm.mac}:
        raise NotExercised(
            f"{machine.name} had {address} before", seen=f"{sorted(owners)} answered"
        )
