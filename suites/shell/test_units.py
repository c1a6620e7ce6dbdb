"""`shell-options`, the half that a module writes down: its units against the spec.

With our own life cycle only QEMU's command line is there to be judged; `harness adopt`
brings the units.
"""

from pathlib import Path

import pytest

from harness import CommandLine, Fleet, Machine, Recorder, Site, Units, UnitShell
from suites.shell.checks import options as checks

_STORE = Path("/nix/store")

pytestmark = [pytest.mark.criterion("shell-options"), pytest.mark.stage("cloud")]


@pytest.mark.scenario("command-line")
def test_command_line(dev: Machine, site: Site, check: Recorder, fleet: Fleet) -> None:
    """QEMU is asked for what the spec says, and for nothing that bypasses the disk."""
    # Adopted units ask for the real size; our own command line is a throwaway one's.
    vm = fleet.vms[dev.name] if isinstance(dev.shell, UnitShell) else dev.vm
    asked = CommandLine.of(dev.argv[1:])
    lent = [file for file in dev.backing if file.resolve().is_relative_to(_STORE)]
    check(checks.command_line(asked, vm, site.ports(), lent))


@pytest.mark.adopted
@pytest.mark.scenario("unit")
def test_unit_settings(
    units: Units | None, request: pytest.FixtureRequest, check: Recorder, fleet: Fleet
) -> None:
    """What no guest can see: start with the host, and the weight of the unit."""
    if units is None:
        pytest.skip("no units are adopted; `harness adopt` brings some")
    vm = fleet.vms[str(request.config.getoption("--adopt-vm"))]
    check(checks.unit(units, vm, fleet.budgets))
