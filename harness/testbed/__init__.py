"""The test bed: sites and machines made from a run's inputs, for pytest and the CLI.

It calls the hooks of a fault that are about the run; stages and machines call theirs.
"""

from harness.testbed.failures import BuildFailures
from harness.testbed.machines import MachineFactory, Observer
from harness.testbed.prepare import choose_accelerator, load_spec, prepare
from harness.testbed.testbed import Testbed, open_site

__all__ = [
    "BuildFailures",
    "MachineFactory",
    "Observer",
    "Testbed",
    "choose_accelerator",
    "load_spec",
    "open_site",
    "prepare",
]
