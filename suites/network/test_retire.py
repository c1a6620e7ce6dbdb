"""`swap-retires-old`: after the swap nothing on the host is left of the old VM.

The host is the site; a VM's unit on it is a QEMU process with its tap and its state
directory, in which the image and all that the VM persists lie.
"""

from collections.abc import Iterator

import pytest

from harness import (
    OLD,
    Budgets,
    Check,
    Deadline,
    DeadlineExpired,
    Fleet,
    Machine,
    MachineFactory,
    NotExercised,
    Recorder,
    Site,
    Trace,
    poll,
)
from suites.network.checks import address, retirement
from suites.network.checks.retirement import OldVm, Remains
from suites.network.migration import migration_of

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
    """It is removed, looked for twice, and dev serves without a break."""
    move = migration_of(fleet)
    # dev has its address by now, so its cable is out.
    old = machine_factory(stage="cloud", vm=OLD)
    old.block_network()
    dev = machine_factory(stage="swapped", vm=move.vm)
    gone = OldVm(old.name, old.vm.mac, old.tap)
    ports = {"ssh": 22, "lab": fleet.lab.port}
    with (
        site.trace(old.directory) as trace,
        site.watch_address(move.final, tcp=tuple(ports.values())) as watch,
    ):
        _must_be_there(trace, site, old)
        old.retire()
        check(retirement.gone(gone, _look(trace, site), "after the removal"))
        site.dns.restart()
        after = "after a restart of dnsmasq"
        check(retirement.gone(gone, _look(trace, site), after))
        check(_heir(site, dev, fleet))
        check(_weight(dev, fleet))
    watch.require_steady()
    samples, during = watch.samples, "while the old VM is retired"
    check(retirement.owned_throughout(watch.of_kind("arp"), dev.vm.mac, move.final))
    probes = {service: f"tcp:{port}" for service, port in ports.items()}
    check(address.outages(samples, probes, budgets.swap_outage_s, during))


def _must_be_there(trace: Trace, site: Site, old: Machine) -> None:
    """Raise NotExercised for what could not be seen before the removal."""
    seen = {
        "process": trace.processes(),
        "open image": trace.holders(),
        "disk": [path for path in trace.files if path == old.disk],
        "tap": [tap for tap in site.taps() if tap == old.tap],
    }
    missing = [what for what, found in seen.items() if not found]
    if missing:
        raise NotExercised(
            "the old VM to have a process, an open image, a disk and a tap",
            seen=f"no {' and no '.join(missing)} was found",
        )


def _look(trace: Trace, site: Site) -> Remains:
    """Look for what is left, after a while in which a unit could start again."""
    deadline = Deadline.after(_WATCH_S, "the old VM to come back")
    try:
        back = poll(lambda: trace.processes() or None, deadline, interval=0.5)
    except DeadlineExpired:
        back = []
    return Remains(
        processes=back,
        holders=trace.holders(),
        files=trace.names_left(),
        interfaces={*site.taps(), *site.ports()},
        dns=site.dns.config.read_text().splitlines(),
    )


def _heir(site: Site, dev: Machine, fleet: Fleet) -> Iterator[Check]:
    """Ask client and gateway for lab's page and for their neighbour caches."""
    final, during = migration_of(fleet).final, "after the removal"
    for host in (site.client, site.gateway):
        page = host.http(final, fleet.lab.port)
        sessions = dev.lab.state().sessions
        yield from address.serves_lab(page, sessions, host.name, during)
        entry = host.neighbours().get(str(final))
        mac = entry.mac if entry else None
        yield retirement.remembered(host.name, mac, dev.vm.mac, final)


def _weight(dev: Machine, fleet: Fleet) -> Iterator[Check]:
    """Read the CPU weight that dev's QEMU has."""
    with dev.cpu.weighed():
        weight = dev.cpu.weight
    return retirement.weight_moved(weight, fleet.vms[dev.name].cpu_weight)
