"""Measure how long something takes to be right again."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from harness import Deadline, DeadlineExpired, poll

T = TypeVar("T")


def time_to(
    look: Callable[[], tuple[bool, T]], seconds: float, awaited: str
) -> tuple[float, T]:
    """Look until it is right, or for `seconds` and once more.

    Returns the seconds from the end of the first look to the start of the last one that
    found it wrong, infinite where none found it right, and what the last look saw.
    """
    right, seen = look()
    began, wrong_at = time.monotonic(), 0.0

    def again() -> bool | None:
        nonlocal wrong_at, right, seen
        at = time.monotonic() - began
        if not right:
            right, seen = look()
            wrong_at = wrong_at if right else at
        return right or None

    with suppress(DeadlineExpired):
        poll(again, Deadline.after(seconds, awaited))
    return (wrong_at if right else math.inf), seen
