"""Machines for a test: made from stages, collected whatever happens, then gone."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import GuestFailure, HarnessError, InputError, NotExercised
from harness.evidence import scrub
from harness.plugin.markers import subject_of
from harness.plugin.options import SETTINGS
from harness.plugin.session import PHASES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager, ExitStack
    from pathlib import Path

    import pytest

    from harness.fault import Fault
    from harness.fleet import CloudInit
    from harness.machine import Machine
    from harness.machine.adopted import Units
    from harness.plugin.run import Current
    from harness.site import Site
    from harness.stage import RunInputs


@dataclass(frozen=True)
class MachineFactory:
    """Makes machines that live until the end of the test."""

    stack: ExitStack
    current: Current
    item: pytest.Item
    directory: Path
    site: Site
    inputs: dict[str, Any]
    fault: Fault | None = None
    units: Units | None = None
    adopted: str = ""

    def __call__(
        self,
        stage: str | None = None,
        vm: str = "dev",
        cloud_init: CloudInit | None = None,
    ) -> Machine:
        """Give a machine at a stage (default: the test's own) from the spec's `vm`.

        `cloud_init` replaces the spec's; such a machine has stages of its own.
        Raises what building the stage raised, once and for all: a stage that could not
        be built is not tried again for every test of the run.
        """
        from harness.stage import machine_at  # noqa: PLC0415 - load when used

        stage = stage or subject_of(self.item).stage
        if stage is None:
            raise InputError(
                f"{self.item.nodeid} asks for {vm} but not at which stage",
                hint='add @pytest.mark.stage("onboarded"), or pass stage="onboarded"',
            )
        inputs = self._inputs(vm, cloud_init)
        adopted = self.units is not None and vm == self.adopted
        if not adopted:
            self._build(stage, vm, inputs)
        directory = self.directory / vm
        directory.mkdir(mode=0o700)
        into = self.current.machine(vm, directory)
        began = time.monotonic()
        machine = self.stack.enter_context(
            self._adopt(stage, vm, directory, given=cloud_init is not None)
            if adopted
            else machine_at(
                stage,
                vm,
                inputs=inputs,
                site=self.site,
                directory=directory,
                progress=self.current.run,
            )
        )
        kind = "cold-boot" if machine.restored_from is None else "restore"
        self.current.run.timing(kind, round(time.monotonic() - began, 3))
        self.stack.callback(self._collect, machine, into)
        self.stack.callback(self._keep, machine)
        if self.fault is not None and self.fault.affects(vm):
            self.fault.inject(machine)
        return machine

    def _adopt(
        self, stage: str, vm: str, directory: Path, *, given: bool
    ) -> AbstractContextManager[Machine]:
        """Have a machine's own units start it; it has its own disk, not our stages."""
        from harness.machine.adopted import adopt  # noqa: PLC0415 - load when used

        if stage != "cloud" or given or self.units is None:
            raise NotExercised(
                f"{vm} at stage {stage} by its own units",
                seen="they start the cloud image, with the seed that they have",
            )
        fleet = self.inputs["fleet"]
        small = fleet.throwaway_vm(vm)
        size = {"mem": small.mem, "vcpu": small.vcpu}
        return adopt(
            self.units,
            fleet.vms[vm].model_copy(update=size),
            self.site,
            directory,
            self.inputs["accelerator"],
            lab=fleet.lab,
        )

    def recreate(self, machine: Machine) -> None:
        """Remove a machine's state directory and boot it anew from the base image."""
        machine.recreate(self.inputs["image"].path)

    def _inputs(self, vm: str, cloud_init: CloudInit | None) -> RunInputs:
        from harness.stage import FaultyInputs, RunInputs  # noqa: PLC0415 - same

        inputs = dict(self.inputs)
        if cloud_init is not None:
            fleet = inputs["fleet"]
            own = fleet.vms[vm].model_copy(update={"cloud_init": cloud_init})
            vms = {**fleet.vms, vm: own}
            inputs["fleet"] = fleet.model_copy(update={"vms": vms})
        if self.fault is None:
            return RunInputs(**inputs)
        return FaultyInputs(**inputs, fault=self.fault)

    def _build(self, stage: str, vm: str, inputs: RunInputs) -> None:
        from harness.stage import ensure, stage_digest  # noqa: PLC0415 - load when used

        # One file per run, shared by its workers: the first cause is the one told.
        name = f"{stage}-{vm}-{stage_digest(stage, vm, inputs)}.failed"
        failed = self.current.run.journal.directory / name
        if failed.exists():
            _raise_again(json.loads(failed.read_text(encoding="utf-8")), stage, vm)
        try:
            saved = ensure(stage, vm, inputs, self.current.run)
        except (HarnessError, GuestFailure) as error:
            cause = {
                "first": self.item.nodeid,
                "subject": isinstance(error, GuestFailure),
                "text": str(error),
            }
            failed.write_text(json.dumps(cause), encoding="utf-8")
            raise
        retries = json.loads((saved / "stage.json").read_text())["retries"]
        if retries:
            self.current.recorder.note(
                f"stage {stage} of {vm} was built after {retries} kernel panics of"
                " the emulator's making"
            )

    def _collect(self, machine: Machine, into: Path) -> None:
        # Evidence never speaks over the test: what could not be had becomes a note.
        into.mkdir(parents=True, exist_ok=True)
        try:
            machine.collect(into)
        except Exception as error:  # noqa: BLE001 - whatever it was, go on cleaning up
            self.current.recorder.note(f"not all of {machine.name} collected: {error}")
        scrub(into)

    def _keep(self, machine: Machine) -> None:
        phases = self.item.stash.get(PHASES, [])
        unhappy = any(phase.ended in {"failed", "broken"} for phase in phases)
        if unhappy and self.item.config.stash[SETTINGS].keep_machines:
            hold(self.item, f"{machine.name} keeps running in {machine.directory}")


def hold(item: pytest.Item, text: str) -> None:
    """Wait at the terminal until the person there has seen enough."""
    item.config.pluginmanager.hook.pytest_timeout_cancel_timer(item=item)
    capture = item.config.pluginmanager.getplugin("capturemanager")
    capture.suspend(in_=True)
    try:
        print(f"\n{text}\n`harness shell` and `harness console` reach it.")  # noqa: T201
        input("Press Enter to take it down. ")
    finally:
        capture.resume()


def _raise_again(cause: dict[str, Any], stage: str, vm: str) -> None:
    kind = GuestFailure if cause["subject"] else HarnessError
    raise kind(
        f"stage {stage} of {vm} could not be built",
        seen=f"first in {cause['first']}",
        evidence=cause["text"].splitlines(),
    )
