"""Machines made from stages, collected in any case, ended with their factory."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import HarnessError, InputError, NotExercised
from harness.evidence import scrub
from harness.stage import Cached
from harness.testbed.announce import announce

if TYPE_CHECKING:
    from contextlib import AbstractContextManager, ExitStack
    from pathlib import Path

    from harness.fleet import CloudInit
    from harness.machine import Machine
    from harness.site import Site
    from harness.testbed.parts import Parts


class Observer:
    """Is called as machines start and end; this one ignores it all."""

    name: str = ""
    """Name of what asks for machines, such as a node id; messages contain it."""

    def starting(self, vm: str, directory: Path) -> Path | None:
        """Return where the evidence of a machine belongs; None where none is kept."""
        _ = vm, directory
        return None

    def continues(self, saved: Path) -> None:
        """Take the directory of the saved stage that a machine is made from."""

    def started(self, machine: Machine, seconds: float) -> None:
        """Take how long a machine took from the demand to the first command."""

    def ending(self, machine: Machine) -> None:
        """Take a last look at a machine, before its evidence is collected."""

    def note(self, text: str) -> None:
        """Take a remark that belongs into the report."""


@dataclass(frozen=True, kw_only=True)
class MachineFactory:
    """Makes machines on one site; each VM of the spec at most once."""

    testbed: Parts
    site: Site
    directory: Path
    stack: ExitStack
    stage: str | None
    observer: Observer

    def __repr__(self) -> str:
        return f"<MachineFactory: stage {self.stage}, in {self.directory}>"

    def __call__(
        self,
        stage: str | None = None,
        vm: str = "dev",
        cloud_init: CloudInit | None = None,
    ) -> Machine:
        """Return a running machine at a stage, made from the spec's `vm`.

        `cloud_init` replaces the spec's; such a machine has stages of its own. Raises
        what building the stage raised, InputError without a stage.
        """
        stage = stage or self.stage
        if stage is None:
            raise InputError(
                f"{vm}: no stage is given",
                hint='pass stage="onboarded"; in a test, add'
                ' @pytest.mark.stage("onboarded")',
            )
        testbed = self.testbed
        if cloud_init is not None:
            inputs = testbed.inputs.with_cloud_init(vm, cloud_init)
            testbed = replace(testbed, inputs=inputs)
        directory = self.directory / vm
        if directory.exists():
            raise HarnessError(
                f"{vm} was started on this site before",
                hint="two machines of one VM would share address and MAC",
            )
        adopted = testbed.units is not None and vm == testbed.adopted
        if not adopted:
            self._build(testbed, stage, vm)
        directory.mkdir(mode=0o700)
        into = self.observer.starting(vm, directory)
        began = time.monotonic()
        machine = self.stack.enter_context(
            self._adopt(stage, vm, directory, given=cloud_init is not None)
            if adopted
            else testbed.stages.machine(stage, vm, self.site, directory)
        )
        self.observer.started(machine, time.monotonic() - began)
        if into is not None:
            self.stack.callback(self._collect, machine, into)
        self.stack.callback(self.observer.ending, machine)
        announce(machine, stage, testbed.inputs.fleet.lab.port)
        if fault := testbed.inputs.fault_of(vm):
            fault.inject(machine)
        return machine

    def recreate(self, machine: Machine) -> None:
        """Remove a machine's state directory and boot it from the base image."""
        machine.recreate(self.testbed.inputs.image.path)

    def _adopt(
        self, stage: str, vm: str, directory: Path, *, given: bool
    ) -> AbstractContextManager[Machine]:
        """Have a machine's own units start it; it has its own disk, not our stages."""
        from harness.machine import adopt  # noqa: PLC0415 - load when used

        inputs, units = self.testbed.inputs, self.testbed.units
        if stage != "cloud" or given or units is None:
            raise NotExercised(
                f"{vm} at stage {stage} by its own units",
                seen="they start the cloud image, with the seed that they have",
            )
        small = inputs.fleet.throwaway_vm(vm)
        size = {"mem": small.mem, "vcpu": small.vcpu}
        return adopt(
            units,
            inputs.fleet.vms[vm].model_copy(update=size),
            self.site,
            directory,
            inputs.accelerator,
            lab=inputs.fleet.lab,
        )

    def _build(self, testbed: Parts, stage: str, vm: str) -> None:
        """Build a stage, unless it could not be built before in this run."""
        stages, failures = testbed.stages, testbed.failures
        self.observer.continues(stages.place(stage, vm))
        remembered = failures and failures.remembered(
            stage, vm, stages.digest(stage, vm), by=self.observer.name
        )
        with remembered or nullcontext():
            saved = stages.ensure(stage, vm)
        built = Cached.read(saved)
        if built and built.retries:
            self.observer.note(
                f"stage {stage} of {vm} was built after {built.retries} kernel"
                " panics of the emulator's making"
            )

    def _collect(self, machine: Machine, into: Path) -> None:
        # A failure here must not replace the test's own: it becomes a note.
        into.mkdir(parents=True, exist_ok=True)
        try:
            machine.collect(into)
        except Exception as error:  # noqa: BLE001 - go on cleaning up in any case
            self.observer.note(f"not all of {machine.name} collected: {error}")
        scrub(into)
