"""Judging a bystander: each way to disturb it fails the check that is about it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from harness.bystander import (
    GuestView,
    HostView,
    Traffic,
    bystander_keeps_running,
    bystander_stays_reachable,
    bystander_undisturbed,
)
from harness.errors import HarnessError
from harness.fleet import Budgets
from harness.site import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.evidence import Check

MAC, OTHER_MAC = "52:54:00:97:00:17", "52:54:00:97:00:16"
HOST = HostView((812, 1764.25), ("init", "tap-up", "qemu"), "vm-a", ("lan0", "vm-a"))
GUEST = GuestView(100.0, 20.0, "b1", (1, 2))
LATER = replace(GUEST, at=130.0, uptime=51.0)


def arp(at: float, macs: str = MAC) -> Sample:
    """Give one ARP question with the MACs that answered."""
    return Sample(at, "arp", bool(macs), macs)


def traffic(*samples: Sample) -> Traffic:
    """Give samples of two events, probed from second 10 on."""
    events = {"dev stops": 11.0, "dev starts": 20.0}
    return Traffic(IPv4Address("10.42.97.17"), MAC, ("arp",), 10.0, events, samples)


def failed(checks: Iterable[Check]) -> list[str]:
    """Name the checks that do not hold."""
    return [check.name for check in checks if not check.held]


def disturbed(host: HostView = HOST, guest: GuestView = LATER) -> list[str]:
    """Judge views of a later moment."""
    views = (HOST, host), (GUEST, guest)
    return failed(bystander_undisturbed(*views, "dev stops", Budgets()))


@pytest.mark.parametrize("qemu", [None, (813, 1764.25), (812, 1900.0)])
def test_another_process_of_the_same_pid_is_noticed(
    qemu: tuple[int, float] | None,
) -> None:
    """A process is its PID and its start time, and it has to run."""
    assert bystander_keeps_running(HOST, HOST, "dev stops").held
    check = bystander_keeps_running(HOST, replace(HOST, qemu=qemu), "dev stops")
    assert not check.held


@pytest.mark.parametrize(
    ("host", "guest", "name"),
    [
        (
            replace(HOST, steps=(*HOST.steps, "tap-down")),
            LATER,
            "no step of the bystander's unit is taken",
        ),
        (
            replace(HOST, ports=("lan0",)),
            LATER,
            "the bystander's tap is on the bridge",
        ),
        (HOST, replace(LATER, boot_id="b2"), "the bystander does not reboot"),
        (
            HOST,
            replace(LATER, uptime=46.0),
            "the bystander's uptime advances with the host's clock",
        ),
        (HOST, replace(LATER, carrier_changes=(1, 3)), "the bystander's link stays up"),
    ],
)
def test_each_disturbance_fails_its_check(
    host: HostView, guest: GuestView, name: str
) -> None:
    """And no other; a machine that was left alone passes all."""
    assert disturbed() == []
    assert disturbed(host, guest) == [name]


def test_every_probe_counts_from_the_start_of_the_watch() -> None:
    """One that is lost is placed after the event that came before it."""
    assert failed(bystander_stays_reachable(traffic(arp(9, ""), arp(12)))) == []
    lost = [*bystander_stays_reachable(traffic(arp(12), arp(20.5, ""), arp(21, "")))]
    assert failed(lost) == ["every probe of the bystander is answered"]
    assert lost[0].observation == "unanswered arp probes 2"
    assert lost[0].facts["first unanswered"] == "0.5 s after: dev starts"


def test_a_second_owner_of_the_address_is_noticed() -> None:
    """Also where the bystander answered as well."""
    both = bystander_stays_reachable(traffic(arp(12), arp(13, f"{MAC} {OTHER_MAC}")))
    assert failed(both) == ["only the bystander answers for its address"]


def test_without_samples_nothing_is_judged() -> None:
    """No probe at all would read as none lost."""
    with pytest.raises(HarnessError, match="took no arp samples"):
        failed(bystander_stays_reachable(traffic()))
