"""`harness bench`: the time of boots, restores and commands on this computer."""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.inputs import (
    DEFAULT_ACCEL,
    DEFAULT_FLEET,
    AccelChoice,
    FleetFile,
    StageOption,
    make_testbed,
)
from harness.cli.say import live, show, table
from harness.errors import InputError, Mistake
from harness.report.model import Spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.machine import Machine
    from harness.site import Site
    from harness.testbed import Testbed

_FIRST = ("uname", "-r")  # the first command that a test would run


def bench(
    vm: Annotated[str, typer.Argument(help="a VM of the spec")] = "dev",
    stage: StageOption = "onboarded",
    restores: Annotated[int, typer.Option(min=2, help="how many restores")] = 20,
    commands: Annotated[int, typer.Option(min=2, help="how many commands")] = 20,
    file: Annotated[
        Path | None, typer.Option("--json", help="also write the figures here")
    ] = None,
    fleet: FleetFile = DEFAULT_FLEET,
    accel: AccelChoice = DEFAULT_ACCEL,
) -> None:
    """Measure cold boot, restores and commands on one machine."""
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK)):
        mistake = Mistake("command line", "--json", str(file), "a file to be written")
        raise InputError("the figures could not be written", [mistake])
    with live("starting") as progress:
        testbed = make_testbed(fleet, accel, progress, vm=vm, stage=stage)
        testbed.stages.ensure(stage, vm)
        with testbed.open(stage) as factory:
            figures = Rig(testbed, factory.site, stage, vm).measure(restores, commands)
    _print(figures)
    if file is not None:
        file.write_text(json.dumps(figures, indent=1) + "\n")


class Rig:
    """One site, on which the same machine is restored over and over."""

    def __init__(self, testbed: Testbed, site: Site, stage: str, vm: str) -> None:
        self.testbed = testbed
        self.site = site
        self.stage = stage
        self.vm = vm

    def measure(self, restores: int, commands: int) -> dict[str, Any]:
        """Return all figures, as `results.json` has them under `timings`."""
        from harness import host  # noqa: PLC0415 - see the package's docstring
        from harness.stage import cached, lineage  # noqa: PLC0415 - same

        progress, accelerator = self.testbed.progress, self.testbed.inputs.accelerator
        progress.step(f"{restores} restores of {self.vm} at {self.stage}")
        durations = [self._restore() for _ in range(restores)]
        progress.step(f"{commands} commands, then one cold boot")
        asked, booted = self._boot(commands)
        path = {each.name for each in lineage(self.stage)}
        restored = Spread.of(durations)
        return {
            "accel": accelerator.name,
            "accel_reason": accelerator.reason,
            "qemu": host.qemu_version(),
            "stage": self.stage,
            "cold_boot_s": round(booted, 2),
            "restore_s": restored.model_dump(),
            "exec_ms": Spread.of([1000 * s for s in asked]).model_dump(),
            "ratio": round(booted / restored.p50, 1),
            "stage_build_s": {
                each.stage: each.build_s
                for each in cached()
                if each.vm == self.vm and each.stage in path
            },
        }

    def _restore(self) -> float:
        """Restore to the first command done, seconds."""
        began = time.monotonic()
        with self._machine() as machine:
            machine.succeed(*_FIRST)
            return time.monotonic() - began

    def _boot(self, commands: int) -> tuple[list[float], float]:
        """Time single commands, then a boot of the same disk to the first one."""
        with self._machine() as machine:
            asked = [timed(machine) for _ in range(commands)]
            machine.shutdown()
            began = time.monotonic()
            machine.start()
            machine.succeed(*_FIRST)
            return asked, time.monotonic() - began

    @contextmanager
    def _machine(self) -> Iterator[Machine]:
        # A directory of its own for each: a leftover disk would be booted again.
        directory = Path(tempfile.mkdtemp(dir=self.site.directory, prefix="m"))
        with self.testbed.machines(self.site, directory, stage=self.stage) as factory:
            yield factory(vm=self.vm)


def timed(machine: Machine) -> float:
    """Run `true`: one fork and exec in the guest, seconds."""
    began = time.monotonic()
    machine.succeed("true")
    return time.monotonic() - began


def _print(figures: dict[str, Any]) -> None:
    restore, command = figures["restore_s"], figures["exec_ms"]
    lines = table("what", "figure")
    lines.add_row("accelerator", f"{figures['accel']} ({figures['accel_reason']})")
    lines.add_row("cold boot to first command", f"{figures['cold_boot_s']:.1f} s")
    lines.add_row(
        "restore to first command",
        f"p50 {restore['p50']:.2f} s, p95 {restore['p95']:.2f} s, n {restore['n']}",
    )
    lines.add_row("restoring is faster by", f"{figures['ratio']:.0f} times")
    lines.add_row(
        "one command", f"p50 {command['p50']:.0f} ms, p95 {command['p95']:.0f} ms"
    )
    for stage, seconds in figures["stage_build_s"].items():
        lines.add_row(f"build of stage {stage}", f"{seconds:.0f} s")
    show(lines)
