"""Options that `up`, `repl` and `bench` share, and the test bed made from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.criteria import StageName
from harness.errors import InputError, Mistake
from harness.host import Accel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.cli.say import StepDisplay
    from harness.fleet import Fleet
    from harness.testbed import Testbed


FleetFile = Annotated[Path, typer.Option("--fleet", help="TOML or `nix eval` JSON")]
AccelChoice = Annotated[Accel, typer.Option("--accel", help="auto falls back to TCG")]
StageOption = Annotated[str, typer.Option("--stage", help="see `harness images`")]
FaultName = Annotated[
    str | None,
    typer.Option(
        "--fault",
        metavar="NAME|FILE:CLASS",
        help="inject a fault: a built-in one, or a class",
    ),
]
DEFAULT_ACCEL = Accel.AUTO
DEFAULT_FLEET = Path("fleet.toml")


_GIVEN = "COMMANDLINE"  # as typer names the source of a parameter


def refuse_unused(
    context: typer.Context, option: str, others: Mapping[str, str], why: str
) -> None:
    """Raise InputError for what was given and means nothing with `option`.

    `others` maps parameters to their names on the command line.
    """
    given = [
        shown
        for name, shown in others.items()
        if (source := context.get_parameter_source(name)) and source.name == _GIVEN
    ]
    if given:
        mistake = Mistake("command line", option, "", f"without {', '.join(given)}")
        raise InputError(f"{option} {why}", [mistake])


def demand_one(asked: Mapping[str, bool]) -> None:
    """Raise InputError where more than one of several options is wanted."""
    given = [name for name, wanted in asked.items() if wanted]
    if len(given) > 1:
        others = ", ".join(given[1:])
        mistake = Mistake("command line", given[0], "", f"not together with {others}")
        raise InputError("options that exclude each other", [mistake])


def run_options(fleet: Path | None, accel: Accel) -> list[str]:
    """Return pytest's options for a spec and an accelerator.

    Raises InputError for a mistake in the spec: one message, before anything runs.
    """
    from harness.fleet import load_fleet  # noqa: PLC0415 - see the package's docstring

    options = ["--accel", accel.value]
    if fleet is not None:
        load_fleet(fleet)
        options += ["--fleet", str(fleet)]
    return options


def make_testbed(
    fleet_file: Path,
    accel: Accel,
    progress: StepDisplay,
    *,
    vm: str | None,
    stage: str,
    fault: str | None = None,
) -> Testbed:
    """Load spec and fault, build or reuse the image, choose the accelerator.

    No `vm` means those with autostart. Refuses a VM, a stage or a fault that does not
    exist before any of that. Raises InputError.
    """
    from harness import testbed  # noqa: PLC0415 - see the package's docstring
    from harness.fault import load  # noqa: PLC0415 - same

    injected = load(fault) if fault else None
    fleet = testbed.load_spec(fleet_file, injected)
    _check_names(fleet, vm, stage)
    inputs = testbed.prepare(fleet, accel, progress, fault=injected)
    return testbed.Testbed(inputs=inputs, progress=progress)


def _check_names(fleet: Fleet, vm: str | None, stage: str) -> None:
    mistakes = []
    if vm is None and not fleet.autostarted:
        mistakes.append(
            Mistake("command line", "--autostart", "", "no VM has autostart")
        )
    if vm is not None and vm not in fleet.vms:
        known = ", ".join(fleet.vms)
        mistakes.append(Mistake("command line", "VM", vm, f"one of: {known}"))
    if stage not in set(StageName):
        known = ", ".join(StageName)
        mistakes.append(Mistake("command line", "--stage", stage, f"one of: {known}"))
    if mistakes:
        raise InputError("there is no such machine", mistakes)
