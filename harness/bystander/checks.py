"""The checks of a bystander: views before and after the event, and samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.evidence import Check, at_most, contains, only
from harness.facts import Quantity
from harness.site.samples import of_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from ipaddress import IPv4Address

    from harness.fleet import Budgets
    from harness.site import Sample


@dataclass(frozen=True, slots=True)
class HostView:
    """What the host shows of a machine at one moment.

    `qemu` is the PID and the start time (seconds since 1970) of its QEMU process, None
    when none runs; `steps` are those of its unit so far; `ports` are the bridge's.
    """

    qemu: tuple[int, float] | None
    steps: tuple[str, ...]
    tap: str
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuestView:
    """What a guest says of itself at one moment, `at` by the host's monotonic clock.

    `at` and `uptime` are in seconds; `carrier_changes` has one count per interface.
    """

    at: float
    uptime: float
    boot_id: str
    carrier_changes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the LAN client saw of a machine's address, `since` every probe was answered.

    `events` says what was done to the other machine, and when; all times are monotonic,
    in seconds.
    """

    ip: IPv4Address
    mac: str
    kinds: tuple[str, ...]
    since: float
    events: Mapping[str, float]
    samples: tuple[Sample, ...]

    @property
    def during(self) -> str:
        """Name all events."""
        return ", ".join(self.events)

    def unanswered(self, kind: str) -> tuple[int, list[Sample]]:
        """Return how many probes of a kind there were, and those without an answer."""
        asked = [s for s in of_kind(self.samples, kind) if s.at >= self.since]
        return len(asked), [sample for sample in asked if not sample.ok]

    def place(self, sample: Sample) -> str:
        """Say how long after which event a sample was taken."""
        begun = [(at, event) for event, at in self.events.items() if at <= sample.at]
        if not begun:
            return "before the first event"
        at, event = max(begun)
        return f"{sample.at - at:.1f} s after: {event}"


def bystander_keeps_running(before: HostView, now: HostView, during: str) -> Check:
    """Check that QEMU is the same process: a PID alone may be another's by now."""
    return Check(
        "the bystander's QEMU is the same process",
        _process(now),
        _process(before),
        of="QEMU process",
        during=during,
        steps_of_its_unit=now.steps,
    )


def bystander_undisturbed(
    host: tuple[HostView, HostView],
    guest: tuple[GuestView, GuestView],
    during: str,
    budgets: Budgets,
) -> Iterator[Check]:
    """Check unit, tap, boot, clock and link; each pair has the views before and now."""
    (host_before, host_now), (before, now) = host, guest
    yield Check(
        "no step of the bystander's unit is taken",
        host_now.steps,
        host_before.steps,
        of="steps of its unit",
        during=during,
    )
    yield Check(
        "the bystander's tap is on the bridge",
        host_now.ports,
        contains(host_now.tap),
        of="ports of the bridge",
        during=during,
    )
    yield Check(
        "the bystander does not reboot",
        now.boot_id,
        before.boot_id,
        of="boot ID",
        during=during,
    )
    passed, advanced = now.at - before.at, now.uptime - before.uptime
    # Between reading the two clocks lies a command in the guest, which may wait.
    yield Check(
        "the bystander's uptime advances with the host's clock",
        Quantity(abs(passed - advanced), "s"),
        at_most(budgets.clock_error_s),
        of="difference between the clocks",
        during=during,
        uptime_advanced=Quantity(advanced, "s"),
        host_clock_advanced=Quantity(passed, "s"),
    )
    yield Check(
        "the bystander's link stays up",
        now.carrier_changes,
        before.carrier_changes,
        of="carrier changes by interface",
        during=during,
    )


def bystander_stays_reachable(traffic: Traffic) -> Iterator[Check]:
    """Check that every probe was answered, and ARP by one MAC."""
    for kind in traffic.kinds:
        asked, lost = traffic.unanswered(kind)
        yield Check(
            "every probe of the bystander is answered",
            len(lost),
            0,
            of=f"unanswered {kind} probes",
            during=traffic.during,
            address=traffic.ip,
            probes=asked,
            first_unanswered=traffic.place(lost[0]) if lost else None,
        )
    answered = [s for s in traffic.samples if s.kind == "arp" and s.at >= traffic.since]
    yield Check(
        "only the bystander answers for its address",
        {mac for sample in answered for mac in sample.macs},
        only(traffic.mac),
        of=f"MACs that answer for {traffic.ip}",
        during=traffic.during,
    )


def _process(view: HostView) -> dict[str, object] | None:
    if view.qemu is None:
        return None
    pid, started = view.qemu
    return {"PID": pid, "started at": started}
