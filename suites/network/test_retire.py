"""`swap-retires-old`: after the swap nothing on the host is left of the old VM.

The host is the site; a VM's unit on it is a QEMU process with its tap and its state
directory, in which the image and all that the VM persists lie.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from harness import OLD, Deadline, DeadlineExpired, NotExercised, poll
from suites.network.observe import migration_of

if TYPE_CHECKING:
    from harness import Budgets, Fleet, Machine, MachineFactory, Recorder, Site, Trace

pytestmark = [pytest.mark.criterion("swap-retires-old"), pytest.mark.disruptive]

# A unit with Restart=always is back after systemd's RestartSec, a tenth of a second.
_WATCH_S = 3.0


@pytest.mark.stage("swapped")
@pytest.mark.scenario("retire")
def test_old_vm_leaves_nothing(
    machine_factory: MachineFactory,
    site: Site,
    check: Recorder,
    budgets: Budgets,
    fleet: Fleet,
) -> None:
    """It is shut down and removed, twice looked for, and dev goes on undisturbed."""
    move = migration_of(fleet)
    # dev has its address by now, so its cable is out.
    old = machine_factory(stage="cloud", vm=OLD)
    old.block_network()
    dev = machine_factory(stage="swapped", vm=move.vm)
    with (
        site.trace(old.directory) as trace,
        site.watch_address(move.final, tcp=(22, fleet.lab.port)) as address,
    ):
        _must_be_there(trace, site, old)
        old.retire()
        _judge_gone(check, trace, site, old, "retired")
        site.dns.restart()
        _judge_gone(check, trace, site, old, "after a restart of dnsmasq")
        _judge_heir(check, site, dev, fleet)
        _judge_weight(check, dev, fleet)
    address.require_steady()
    owners = frozenset().union(*(macs for _, macs in address.owners()))
    check.check(
        "only dev answers for the final address",
        owners == {dev.vm.mac},
        f"{sorted(owners)} answered for {move.final}, expected {dev.vm.mac}",
    )
    for probe in ("tcp:22", f"tcp:{fleet.lab.port}"):
        lost = address.longest_outage(probe)
        check.check(
            "dev is served while the old VM is retired",
            lost <= budgets.swap_outage_s,
            f"{probe} on {move.final} was silent for {lost:.1f} s, "
            f"budget {budgets.swap_outage_s} s",
        )


def _must_be_there(trace: Trace, site: Site, old: Machine) -> None:
    """Tell what went from what was never there, or could not be seen."""
    seen = {
        "a process": trace.processes(),
        "an open image": trace.holders(),
        "files": [path for path in trace.files if path == old.disk],
        "a tap": [tap for tap in site.taps() if tap == old.tap],
    }
    missing = [what for what, found in seen.items() if not found]
    if missing:
        raise NotExercised(f"the old VM was seen by its {', '.join(missing)}")


def _judge_gone(
    check: Recorder, trace: Trace, site: Site, old: Machine, event: str
) -> None:
    """Hold the host to having nothing of it left, and to nothing coming back."""
    deadline = Deadline.after(_WATCH_S, "the old VM to come back")
    try:
        back = poll(lambda: trace.processes() or None, deadline, interval=0.5)
    except DeadlineExpired:
        back = []
    check.check("no process of the old VM is left", not back, f"{event}: {back}")
    holders, names = trace.holders(), trace.names_left()
    check.check(
        "nobody holds the old VM's files",
        not holders,
        f"{event}: their blocks are not given back while these run: {holders}",
    )
    check.check(
        "no image and no state of the old VM is left",
        not names,
        f"{event}: {names}",
    )
    check.check(
        "no tap of the old VM is left",
        old.tap not in {*site.taps(), *site.ports()},
        f"{event}: taps {site.taps()}, on the bridge {sorted(site.ports())}",
    )
    known = [
        line for line in site.dns.config.read_text().splitlines() if _is(line, old)
    ]
    check.check(
        "dnsmasq knows nothing of the old VM",
        not known,
        f"{event}: {known}",
    )


def _is(line: str, old: Machine) -> bool:
    """Whether a line of dnsmasq's means the old VM; its address is dev's by now."""
    return (
        old.vm.mac in line.lower() or f"{old.name}." in line or f",{old.name}," in line
    )


def _judge_heir(check: Recorder, site: Site, dev: Machine, fleet: Fleet) -> None:
    """Hold dev to having the address, in everybody's mind, and to serving lab."""
    move = migration_of(fleet)
    for host in (site.client, site.gateway):
        page = host.http(move.final, fleet.lab.port)
        missing = [name for name in dev.lab.state().sessions if name not in page.body]
        check.check(
            "dev serves lab on the final address",
            page.status == HTTPStatus.OK and not missing,
            f"{host.name} got HTTP {page.status}, page lacks {missing}",
        )
        entry = host.neighbours().get(str(move.final))
        check.check(
            "nobody remembers the old VM's MAC",
            entry is not None and entry.mac == dev.vm.mac,
            f"{host.name} believes {entry}, expected {dev.vm.mac}",
        )


def _judge_weight(check: Recorder, dev: Machine, fleet: Fleet) -> None:
    """Hold dev's unit to the CPU weight that was the old VM's."""
    with dev.cpu.weighed():
        weight = dev.cpu.weight
    expected = fleet.vms[dev.name].cpu_weight
    check.check(
        "the CPU weight sits on the new unit",
        expected is not None and weight == expected,
        f"QEMU of {dev.name} is in a group of weight {weight}, "
        f"the spec has {expected or 'none'}",
    )
