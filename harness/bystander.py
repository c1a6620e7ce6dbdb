"""A machine that others must leave alone, and what it and the LAN say about that."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.evidence import Recorder
    from harness.fleet import Budgets
    from harness.machine import Machine
    from harness.site import AddressWatch, Site
    from harness.site.samples import Sample

_ANSWERS_S = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """What does not change, or only with time, in a machine that is left alone."""

    at: float
    uptime: float
    boot_id: str
    flaps: str
    process: psutil.Process
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bystander:
    """One machine under continuous probes while something happens to its neighbour."""

    machine: Machine
    site: Site
    check: Recorder
    watch: AddressWatch
    kinds: tuple[str, ...]
    before: Moment
    budgets: Budgets
    events: dict[str, float] = field(default_factory=dict)

    def note(self, event: str) -> None:
        """Note that something is being done to the neighbour from now on."""
        self.events[event] = time.monotonic()

    def judge(self) -> None:
        """Check that no event so far has affected the machine."""
        done = ", ".join(self.events)
        self._judge_process(done)
        self._judge_guest(done)
        tap = self.machine.tap
        self.check.check(
            "the bystander's tap is on the bridge",
            tap in self.site.ports(),
            f"{done}: on the bridge are {sorted(self.site.ports())}, not {tap}",
        )

    def _judge_process(self, done: str) -> None:
        before, machine = self.before, self.machine
        # is_running() compares the start time too: a PID may be someone else's by now.
        same = machine.running and before.process.is_running()
        self.check.require(
            "the bystander's QEMU is the same process",
            same and machine.emulator.pid == before.process.pid,
            f"{done}: {machine.name} had pid {before.process.pid}; its unit now says "
            f"{' → '.join(machine.steps.order)}",
        )
        self.check.check(
            "no step of the bystander's unit is taken",
            tuple(machine.steps.order) == before.steps,
            f"{done}: {' → '.join(machine.steps.order)}",
        )

    def _judge_guest(self, done: str) -> None:
        before, now = self.before, _look(self.machine)
        self.check.check(
            "the bystander did not reboot",
            now.boot_id == before.boot_id,
            f"{done}: boot id was {before.boot_id}, is {now.boot_id}",
        )
        slept = (now.at - before.at) - (now.uptime - before.uptime)
        # Between reading the two clocks lies a command in the guest, which may wait.
        self.check.check(
            "the bystander's clock ran on",
            abs(slept) <= self.budgets.clock_error_s,
            f"{done}: its uptime grew by {now.uptime - before.uptime:.1f} s "
            f"in {now.at - before.at:.1f} s",
        )
        self.check.check(
            "the bystander's link never went down",
            now.flaps == before.flaps,
            f"{done}: carrier changes were {before.flaps}, are {now.flaps}",
        )

    def judge_probes(self) -> None:
        """Hold the LAN to an answer to every single probe; the watch has ended."""
        self.watch.require_steady()
        for kind in self.kinds:
            samples = [s for s in self.watch.of_kind(kind) if s.at >= self.before.at]
            lost = [sample for sample in samples if not sample.ok]
            self.check.check(
                "not one probe of the bystander is lost",
                not lost,
                f"{len(lost)} of {len(samples)} {kind} probes of {self.machine.vm.ip} "
                f"were lost, the first {self._when(lost)}",
            )
        mac = self.machine.vm.mac
        samples = [s for s in self.watch.samples if s.at >= self.before.at]
        strangers = {m for s in samples if s.kind == "arp" for m in s.macs} - {mac}
        self.check.check(
            "only the bystander answers for its address",
            not strangers,
            f"{sorted(strangers)} answered for {self.machine.vm.ip}, which {mac} has",
        )

    def draw(self, title: str) -> None:
        """Keep the timeline of its address for the report."""
        origin = self.watch.samples[0].at
        self.check.series(
            f"address {self.machine.vm.ip}, {title}",
            [(s.at - origin, int(s.ok), s.kind) for s in self.watch.samples],
            kind="address",
            events={event: at - origin for event, at in self.events.items()},
        )

    def _when(self, lost: Sequence[Sample]) -> str:
        if not lost:
            return "never"
        at = lost[0].at
        begun = [(when, event) for event, when in self.events.items() if when <= at]
        if not begun:
            return "before anything was done"
        when, event = max(begun)
        return f"{at - when:.1f} s into: {event}"


@contextmanager
def watch_bystander(
    machine: Machine, site: Site, check: Recorder, budgets: Budgets
) -> Iterator[Bystander]:
    """Watch a machine that answers; what it is left alone by happens in the `with`."""
    with site.watch_address(machine.vm.ip, tcp=(22,)) as watch:
        kinds = ("ping", "arp", "tcp:22")
        yield observe_bystander(machine, site, check, watch, kinds, budgets)


def observe_bystander(
    machine: Machine,
    site: Site,
    check: Recorder,
    watch: AddressWatch,
    kinds: Sequence[str],
    budgets: Budgets,
) -> Bystander:
    """Wait until every kind of probe is answered: from then on each one counts."""
    for kind in kinds:
        deadline = machine.deadline(_ANSWERS_S, f"{kind} of {machine.vm.ip}")
        watch.wait_for(kind, ok=True, deadline=deadline)
    return Bystander(machine, site, check, watch, tuple(kinds), _look(machine), budgets)


def _look(machine: Machine) -> Moment:
    """Look at a machine, guest and process."""
    said = machine.sh(
        "cat /proc/uptime /proc/sys/kernel/random/boot_id;"
        " cat /sys/class/net/*/carrier_changes | tr '\\n' ' '"
    ).check()
    at = time.monotonic()
    uptime, boot_id, flaps = said.stdout.splitlines()
    return Moment(
        at,
        float(uptime.split()[0]),
        boot_id.strip(),
        flaps.strip(),
        psutil.Process(machine.emulator.pid),
        tuple(machine.steps.order),
    )
