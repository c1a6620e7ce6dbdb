"""What `up` and `bench` stand on: the options they share, and what comes of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.deadline import Deadline
from harness.errors import InputError, Mistake
from harness.fleet import Fleet, load_fleet

if TYPE_CHECKING:
    from harness.cli.say import Live
    from harness.stage import RunInputs

_CHOOSE_S = 120.0  # includes booting a kernel that never comes up


class Accel(StrEnum):
    """The choices of `--accel`."""

    auto = "auto"
    kvm = "kvm"
    tcg = "tcg"


FleetFile = Annotated[
    Path, typer.Option("--fleet", help="the spec, TOML or `nix eval` JSON")
]
AccelChoice = Annotated[
    Accel, typer.Option("--accel", help="auto falls back to TCG; kvm never does")
]
StageName = Annotated[str, typer.Option("--stage", help="see `harness images`")]
DEFAULT_FLEET = Path("fleet.toml")


def prepare(
    fleet_file: Path, accel: Accel, progress: Live, *, vm: str | None, stage: str
) -> RunInputs:
    """Load the spec, build or reuse the image and choose the accelerator.

    No `vm` means those with autostart. Refuses a VM or a stage that does not exist
    before any of that. Raises InputError.
    """
    from harness import host, image  # noqa: PLC0415 - see the package's docstring
    from harness.stage import RunInputs  # noqa: PLC0415 - same

    fleet = load_fleet(fleet_file)
    _check_names(fleet, vm, stage)
    progress.step("reference image")
    reference = image.reference(progress)
    deadline = Deadline.after(_CHOOSE_S, "an accelerator to prove itself")
    accelerator = host.choose_accelerator(accel.value, reference.kernel, deadline)
    progress.step(f"accelerator {accelerator.name}: {accelerator.reason}")
    return RunInputs(fleet=fleet, image=reference, accelerator=accelerator)


def _check_names(fleet: Fleet, vm: str | None, stage: str) -> None:
    from harness.stage import STAGES  # noqa: PLC0415 - see the package's docstring

    mistakes = []
    if vm is None and not fleet.autostarted:
        mistakes.append(
            Mistake("command line", "--autostart", "", "no VM has autostart")
        )
    if vm is not None and vm not in fleet.vms:
        known = ", ".join(fleet.vms)
        mistakes.append(Mistake("command line", "VM", vm, f"one of: {known}"))
    if stage not in STAGES:
        known = ", ".join(STAGES)
        mistakes.append(Mistake("command line", "--stage", stage, f"one of: {known}"))
    if mistakes:
        raise InputError("there is no such machine", mistakes)
