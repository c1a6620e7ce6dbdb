"""Fault injection: known-bad variants of the system that the suites must detect.

A fault changes the system (fleet, command line, guest, LAN), never a suite. `load` gets
a built-in one by its name and any other by `FILE:CLASS`; both subclass `Fault`.
"""

from harness.fault.base import Fault, must_fail
from harness.fault.loading import built_in, load, load_all
from harness.fault.verdict import Ruling, Seen, judge

__all__ = [
    "Fault",
    "Ruling",
    "Seen",
    "built_in",
    "judge",
    "load",
    "load_all",
    "must_fail",
]
