"""`shell-options`, the half that a module writes down: its units against the spec.

With our own life cycle only QEMU's command line is there to be judged; `harness adopt`
brings the units.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import CommandLine, UnitShell

if TYPE_CHECKING:
    from harness import Fleet, Machine, Recorder, Site, Units

_STORE = Path("/nix/store")

pytestmark = [pytest.mark.criterion("shell-options"), pytest.mark.stage("cloud")]


@pytest.mark.scenario("command-line")
def test_command_line(dev: Machine, site: Site, check: Recorder, fleet: Fleet) -> None:
    """QEMU is asked for what the spec says, and for nothing that bypasses the disk."""
    # Adopted units ask for the real size; our own command line is a throwaway one's.
    vm = fleet.vms[dev.name] if isinstance(dev.shell, UnitShell) else dev.vm
    asked = CommandLine.of(dev.argv[1:])
    check.check("QEMU is asked for mem", asked.mem == vm.mem, f"{asked.mem} MiB")
    check.check("QEMU is asked for vcpu", asked.vcpu == vm.vcpu, f"{asked.vcpu}")
    check.check(
        "QEMU is asked for the MAC",
        [mac.lower() for mac in asked.macs] == [vm.mac],
        f"MACs {asked.macs}, the spec has {vm.mac}",
    )
    check.check(
        "QEMU is on the tap that is on the bridge",
        len(asked.taps) == 1 and asked.taps[0] in site.ports(),
        f"taps {asked.taps}, on the bridge {sorted(site.ports())}",
    )
    check.check(
        "no kernel is given to QEMU",
        not asked.direct,
        f"{asked.direct} bypass the guest's own boot loader",
    )
    check.check(
        "QEMU has a disk and a seed", len(asked.files) == 2, f"files {asked.files}"
    )
    lent = [file for file in dev.backing if file.resolve().is_relative_to(_STORE)]
    check.check(
        "the disk needs nothing that the host's garbage collection may take",
        not lent,
        f"it is built on {lent}: a copy is the VM's own, an overlay is not",
    )


@pytest.mark.scenario("unit")
def test_unit_settings(
    units: Units | None, request: pytest.FixtureRequest, check: Recorder, fleet: Fleet
) -> None:
    """What no guest can see: start with the host, and the weight of the unit."""
    if units is None:
        pytest.skip("no units are adopted; `harness adopt` brings some")
    vm = fleet.vms[str(request.config.getoption("--adopt-vm"))]
    main = units.main
    check.check(
        "the unit starts with its host if autostart says so",
        main.autostart == vm.autostart,
        f"{main.name} is wanted by {main.wanted_by or 'nobody'}, "
        f"autostart is {vm.autostart}",
    )
    check.check(
        "what the unit needs is ordered before it",
        not units.unordered,
        f"{main.name} pulls in {units.unordered}, which start at the same moment",
    )
    weight = main.weight
    check.check(
        "the unit has the spec's CPU weight",
        weight == vm.cpu_weight or (vm.cpu_weight is None and weight == 100),
        f"CPUWeight={weight}, the spec has {vm.cpu_weight}",
    )
    check.check(
        "the unit has a time to stop",
        main.stop_timeout >= fleet.budgets.unit_stop_s,
        f"TimeoutStopSec={main.stop_timeout:.0f} s: a guest needs time to end",
    )
    check.check(
        "a deploy of the host does not restart the unit",
        not units.restarted_by_a_deploy,
        f"a change of {', '.join(units.restarted_by_a_deploy)} stops {main.name}; "
        "restartIfChanged = false puts X-RestartIfChanged=false into [Service]",
    )
