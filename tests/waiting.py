"""How long a test waits before it gives up: longer on a busy computer."""

from __future__ import annotations

import os

from harness.deadline import Deadline


def patience() -> float:
    """Return how many processes want each CPU now, at least 1."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def patient(seconds: float, awaited: str) -> Deadline:
    """Give up after so many seconds of an idle computer."""
    return Deadline.after(seconds * patience(), awaited)
