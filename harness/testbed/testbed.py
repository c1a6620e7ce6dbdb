"""What a run's sites and machines are made from."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness import site as sites
from harness.deadline import Deadline
from harness.runtime import runtime_directory
from harness.stage import StageCache
from harness.testbed.machines import MachineFactory, Observer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.fleet import Fleet
    from harness.image import Progress
    from harness.shell import Units
    from harness.site import Site
    from harness.stage import Injection, RunInputs
    from harness.testbed.failures import BuildFailures

_OPEN_SITE_S = 60.0


@contextmanager
def open_site(fleet: Fleet, fault: Injection | None, directory: Path) -> Iterator[Site]:
    """Open a fleet's network, as a fault alters it; nothing in it reaches outside."""
    deadline = Deadline.after(_OPEN_SITE_S, "the site to open")
    with (
        sites.open_site(
            fleet.network, directory, deadline=deadline, reserved=fleet.addresses
        ) as site,
        fault.alter_network(site) if fault else nullcontext(),
    ):
        yield site


@dataclass(frozen=True, kw_only=True)
class Testbed:
    """Makes sites and machines from the inputs of a run, its fault included."""

    __test__: ClassVar = False  # pytest would collect a class of this name

    inputs: RunInputs
    progress: Progress
    units: Units | None = None
    """Units that start the VM `adopted`, in place of our own life cycle."""
    adopted: str = ""
    failures: BuildFailures | None = None
    """The builds that failed in this run; None where each demand is a new attempt."""

    def __repr__(self) -> str:
        inputs = self.inputs
        facts = f"{', '.join(inputs.fleet.vms)} on {inputs.accelerator.name}"
        return f"<Testbed: {facts}, fault: {inputs.fault}>"

    @property
    def stages(self) -> StageCache:
        """The saved states of the run's machines."""
        return StageCache(self.inputs, self.progress)

    @contextmanager
    def machines(
        self,
        site: Site,
        directory: Path,
        *,
        stage: str | None = None,
        observer: Observer | None = None,
    ) -> Iterator[MachineFactory]:
        """Give a factory of machines on a site; they end with the `with`, last first.

        `stage` is the default of the factory's, `observer` is called for each machine.
        """
        with ExitStack() as stack:
            yield MachineFactory(
                testbed=self,
                site=site,
                directory=directory,
                stack=stack,
                stage=stage,
                observer=observer or Observer(),
            )

    @contextmanager
    def open(self, stage: str | None = None) -> Iterator[MachineFactory]:
        """Open a site in a new runtime directory, and give a factory of machines."""
        with (
            runtime_directory() as directory,
            open_site(self.inputs.fleet, self.inputs.fault, directory) as site,
            self.machines(site, directory, stage=stage) as factory,
        ):
            yield factory
