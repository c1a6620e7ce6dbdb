"""The swap: what is prepared for it, how it is done, and how it is judged."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from harness import (
    OLD,
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

SWITCH = ("/nix/var/nix/profiles/system/bin/switch-to-configuration", "switch")


@dataclass(frozen=True)
class Swapping:
    """A swap that is about to be done, with its probes running.

    `moments` are the times of its steps, for the drawings, as far as they are known.
    """

    swap: SwapWatch
    old: Machine
    dev: Machine
    moments: dict[str, float]


def carry_out(
    machine_factory: MachineFactory,
    check: Recorder,
    budgets: Budgets,
    fleet: Fleet,
    act: Callable[[Swapping], Iterator[Check]],
) -> None:
    """Prepare the swap, have `act` do it, and judge what the LAN client saw.

    `act` yields what it can check of its own steps.
    """
    site, move = machine_factory.site, migration_of(fleet)
    old = machine_factory(stage="cloud", vm=OLD)
    dev = machine_factory(stage="onboarded", vm=move.vm)
    boot_id = dev.boot_id
    moments: dict[str, float] = {}
    with watch_swap(site, fleet) as swap:
        waits = swap.await_services(old)
        check.require(checks.answers_beforehand(waits, "before the swap"))
        must_be_owned(site, move.final, old)
        prepare(dev, move.temporary, move.final)
        acted = list(act(Swapping(swap, old, dev, moments)))
        after = "after the swap"
        check.require(checks.answers(swap.await_services(dev), after))
        check(owner(swap, dev, budgets, after))
        check(pages(swap, dev, after))
    check(acted)
    check(watched(swap, budgets.swap_outage_s, "swap"))
    swap.draw(check, "swap", moments)
    check(checks.not_rebooted(boot_id, dev.boot_id))
    check(interface(dev, fleet))


def at_once(swapping: Swapping) -> Iterator[Check]:
    """Shut the old VM down, and have dev take its address by a switch."""
    moments = swapping.moments
    moments["old VM shuts down"] = time.monotonic()
    swapping.old.shutdown()
    moments["dev switches"] = time.monotonic()
    switched = swapping.dev.execute(*SWITCH, timeout=300)
    moments["switched"] = time.monotonic()
    yield checks.switched(switched.rc, switched.output)


def owner(
    swap: SwapWatch, dev: Machine, budgets: Budgets, during: str
) -> Iterator[Check]:
    """Ask the LAN who has the addresses, now that dev should have the final one."""
    mac = dev.vm.mac
    yield checks.owned_by(swap.owners(), mac, swap.move.final, during)
    yield checks.temporary_address_free(swap.temporary_owners(), swap.move, during)
    found = swap.converge(mac, budgets.neighbour_convergence_s)
    yield from checks.neighbours_converge(found, mac, budgets, during)


def pages(swap: SwapWatch, dev: Machine, during: str) -> Iterator[Check]:
    """Fetch lab's page from everywhere on the LAN."""
    sessions = dev.lab.state().sessions
    yield checks.has_sessions(sessions, during)
    for client, answer in swap.pages().items():
        yield from checks.serves_lab(answer, sessions, client, during)


def watched(swap: SwapWatch, limit: float, during: str) -> Iterator[Check]:
    """Judge what the watchers of address and name saw over an event."""
    yield from checks.outages(swap.samples(), swap.probes, limit, during)
    yield names(swap, during)


def names(swap: SwapWatch, during: str) -> Check:
    """Judge what the name led to."""
    return checks.names_lead_to(swap.dns_samples(), swap.name, swap.move.final, during)


def interface(dev: Machine, fleet: Fleet) -> Iterator[Check]:
    """Ask dev for its own addresses and routes."""
    state, move = dev.network.state(), migration_of(fleet)
    gateways = [route.gateway for route in state.default_routes]
    return checks.interface_configured(
        state.addresses, gateways, move.final, fleet.network.gateway
    )


def prepare(dev: Machine, old: IPv4Address, new: IPv4Address) -> None:
    """Build dev's next generation beforehand: only its activation is the swap.

    A swap by a plain `nixos-rebuild switch` adds its build to the outage.
    """
    built = address_changed(dev, old, new, verb="boot")
    if not built.succeeded:
        raise NotExercised(
            f"dev's generation with {new} to be built", seen=built.output[-1500:]
        )


def must_be_owned(site: Site, address: IPv4Address, machine: Machine) -> None:
    """Raise NotExercised where the address is not this machine's before it moves."""
    owners = site.client.arping(address, window=1.0)
    if owners != {machine.vm.mac}:
        raise NotExercised(
            f"{machine.vm.mac} ({machine.name}) to have {address} beforehand",
            seen=f"{', '.join(sorted(owners)) or 'no MAC'} answered for it",
        )
