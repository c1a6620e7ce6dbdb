"""The parts from which a test bed makes its machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.stage import StageCache

if TYPE_CHECKING:
    from harness.image import Progress
    from harness.shell import Units
    from harness.stage import RunInputs
    from harness.testbed.failures import BuildFailures


@dataclass(frozen=True, kw_only=True, repr=False)
class Parts:
    """Run inputs, adopted units, and the builds that failed so far."""

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
        return f"<{type(self).__name__}: {facts}, fault: {inputs.fault}>"

    @property
    def stages(self) -> StageCache:
        """The saved states of the run's machines."""
        return StageCache(self.inputs, self.progress)
