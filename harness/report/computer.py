"""The computer that runs the suites, and how busy it was meanwhile."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

from harness.report.model import HostFacts

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Look:
    """What the kernel says of the computer at one moment; CPU times in seconds."""

    cpus: int
    memory_mib: int
    available_mib: int
    load: float
    cpu_s: float
    steal_s: float


def look() -> Look:
    """Look at the computer now."""
    memory, times = psutil.virtual_memory(), psutil.cpu_times()
    # guest and guest_nice are parts of user and nice already.
    counted = (
        sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0)
    )
    return Look(
        cpus=os.cpu_count() or 1,
        memory_mib=memory.total // _MIB,
        available_mib=memory.available // _MIB,
        load=round(os.getloadavg()[0], 2),
        cpu_s=counted,
        steal_s=getattr(times, "steal", 0.0),
    )


def steal_between(before: Look, after: Look) -> float:
    """Return the share of CPU time that was stolen between two looks, 0 to 1."""
    spent = after.cpu_s - before.cpu_s
    stolen = after.steal_s - before.steal_s
    return round(min(max(stolen / spent, 0.0), 1.0), 4) if spent > 0 else 0.0


def between(before: Look, after: Look) -> HostFacts:
    """Describe the computer between two looks."""
    return HostFacts(
        cpus=before.cpus,
        memory_mib=before.memory_mib,
        memory_available_mib=before.available_mib,
        load_start=before.load,
        load_end=after.load,
        steal_share=steal_between(before, after),
    )
