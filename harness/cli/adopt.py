"""`harness adopt`: the suites of the shell against the units of a module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.inputs import DEFAULT_ACCEL, DEFAULT_FLEET, AccelChoice, FleetFile
from harness.cli.say import out
from harness.errors import InputError, Mistake
from harness.fleet import load_fleet
from harness.process import leashed, spawn
from harness.shell import read

_GRACE_S = 60.0
_CRITERIA = ("shell-lifecycle", "shell-options")
# What one machine that starts from the cloud image shows: units are not asked for more.
_SCENARIOS = (
    *("command-line", "unit"),
    *("crash", "stop", "reboot", "deploy"),
    *("mem", "vcpu", "mac", "ip", "disk", "cloudInit"),
)


def adopt(
    unit: Annotated[
        list[Path],
        typer.Option("--unit", help="a unit file; repeatable"),
    ],
    vm: Annotated[str, typer.Option(help="the VM that they start")] = "dev",
    report_dir: Annotated[Path, typer.Option(help="where the report goes")] = Path(
        "reports"
    ),
    fleet: FleetFile = DEFAULT_FLEET,
    accel: AccelChoice = DEFAULT_ACCEL,
) -> None:
    """Judge the systemd units of a VM: order, tap, crash, stop."""
    loaded = load_fleet(fleet)
    if vm not in loaded.vms:
        known = ", ".join(loaded.vms)
        mistake = Mistake("command line", "--vm", vm, f"one of: {known}")
        raise InputError("there is no such machine", [mistake])
    units = read(unit, vm)
    order = [*units.before, units.main]
    out.print(" → ".join(one.name for one in order), markup=False)
    argv = [
        *leashed("TERM"),
        *(sys.executable, "-m", "pytest", "-n", "0"),
        *(word for each in _CRITERIA for word in ("--criterion", each)),
        *(word for each in _SCENARIOS for word in ("--scenario", each)),
        *(word for file in unit for word in ("--adopt-unit", str(file))),
        *("--adopt-vm", vm, "--fleet", str(fleet), "--accel", accel.value),
        *("--report-dir", str(report_dir)),
        "--allow-partial",  # of two criteria it shows what one machine can
    ]
    told, errors = sys.stdout.fileno(), sys.stderr.fileno()
    with spawn(argv, stdout=told, stderr=errors, grace=_GRACE_S) as child:
        status = child.wait()
    raise typer.Exit(status)
