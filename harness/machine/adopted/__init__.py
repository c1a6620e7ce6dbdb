"""Somebody else's units in place of our own life cycle.

A module's units come as files. The few settings that decide a machine's life are
interpreted here, inside a site; whatever else a unit says is refused, all at once.
"""

from harness.machine.adopted.command import CommandLine
from harness.machine.adopted.life import AdoptedUnit
from harness.machine.adopted.machine import AdoptedMachine, adopt
from harness.machine.adopted.units import Units, read

__all__ = ["AdoptedMachine", "AdoptedUnit", "CommandLine", "Units", "adopt", "read"]
