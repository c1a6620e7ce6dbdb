"""Negative controls: known-bad variants of the system that the suites must tell.

A fault changes the world (spec, command line, guest, LAN), never a suite. `load` finds
ours by name and anybody's by `FILE:CLASS`; both subclass `Fault`.
"""

from harness.fault.base import Fault, must_fail
from harness.fault.loading import built_in, load
from harness.fault.verdict import Ruling, Seen, judge

__all__ = [
    "Fault",
    "Ruling",
    "Seen",
    "built_in",
    "judge",
    "load",
    "must_fail",
]
