"""Watch a bystander: continuous probes from the LAN, and views of host and guest."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from harness.bystander.checks import GuestView, HostView, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.evidence import Recorder
    from harness.machine import Machine
    from harness.site import AddressWatch, Site

_ANSWERS_S = 60.0


@dataclass(frozen=True, slots=True)
class Bystander:
    """One machine under continuous probes while something happens to another.

    `host_before` and `guest_before` were read when every probe was answered.
    """

    machine: Machine
    site: Site
    watch: AddressWatch
    kinds: tuple[str, ...]
    host_before: HostView
    guest_before: GuestView
    events: dict[str, float] = field(default_factory=dict)

    @property
    def during(self) -> str:
        """Name all events so far."""
        return ", ".join(self.events)

    def note(self, event: str) -> None:
        """Note that an event on the other machine begins now."""
        self.events[event] = time.monotonic()

    def host(self) -> HostView:
        """Look at the machine from the host."""
        return _view_host(self.machine, self.site)

    def guest(self) -> GuestView:
        """Look at the machine from inside; its QEMU has to run."""
        return _view_guest(self.machine)

    def traffic(self) -> Traffic:
        """Return what the LAN client saw, after the watch has ended.

        Raises HarnessError when the watcher missed its own period for too long.
        """
        self.watch.require_steady()
        vm = self.machine.vm
        return Traffic(
            vm.ip,
            vm.mac,
            self.kinds,
            self.guest_before.at,
            dict(self.events),
            tuple(self.watch.samples),
        )

    def draw(self, check: Recorder, title: str) -> None:
        """Keep the timeline of its address for the report."""
        samples = self.watch.samples
        origin = samples[0].at
        check.series(
            f"address {self.machine.vm.ip}, {title}",
            [(s.at - origin, int(s.ok), s.kind) for s in samples],
            kind="address",
            events={event: at - origin for event, at in self.events.items()},
            origin=origin,
        )


@contextmanager
def watch_bystander(machine: Machine, site: Site) -> Iterator[Bystander]:
    """Watch a machine that answers; what it must not notice happens in the `with`."""
    with site.watch_address(machine.vm.ip, tcp=(22,)) as watch:
        yield observe_bystander(machine, site, watch, ("ping", "arp", "tcp:22"))


def observe_bystander(
    machine: Machine, site: Site, watch: AddressWatch, kinds: Sequence[str]
) -> Bystander:
    """Wait until every kind of probe is answered: from then on each one counts."""
    for kind in kinds:
        deadline = machine.deadline(_ANSWERS_S, f"{kind} of {machine.vm.ip}")
        watch.wait_for(kind, ok=True, deadline=deadline)
    host = _view_host(machine, site)
    return Bystander(machine, site, watch, tuple(kinds), host, _view_guest(machine))


def _view_host(machine: Machine, site: Site) -> HostView:
    return HostView(
        qemu=_qemu_of(machine),
        steps=tuple(machine.steps.order),
        tap=machine.tap,
        ports=tuple(sorted(site.ports())),
    )


def _qemu_of(machine: Machine) -> tuple[int, float] | None:
    """Return PID and start time of the machine's QEMU, None when it has ended."""
    if not machine.running:
        return None
    try:
        process = psutil.Process(machine.emulator.pid)
        return process.pid, process.create_time()
    except psutil.NoSuchProcess:  # it ended in between
        return None


def _view_guest(machine: Machine) -> GuestView:
    said = machine.sh(
        "cat /proc/uptime /proc/sys/kernel/random/boot_id;"
        " cat /sys/class/net/*/carrier_changes | tr '\\n' ' '"
    ).check()
    at = time.monotonic()
    uptime, boot_id, changes = said.stdout.splitlines()
    return GuestView(
        at,
        float(uptime.split()[0]),
        boot_id.strip(),
        tuple(map(int, changes.split())),
    )
