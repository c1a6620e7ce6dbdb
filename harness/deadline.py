"""Deadlines: the points in time at which a wait ends; the only sleep."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from harness.errors import DeadlineExpired

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock by which `awaited` must have come.

    A deadline goes down the call chain unchanged, so that ten steps of ten seconds
    cannot add up to a hundred; `sub` carves out a shorter one.
    """

    at: float
    awaited: str
    budget: float

    @classmethod
    def after(cls, seconds: float, awaited: str) -> Deadline:
        """Give up `seconds` from now, naming what was `awaited`."""
        return cls(time.monotonic() + seconds, awaited, seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.at

    def sub(self, seconds: float, awaited: str) -> Deadline:
        """Carve out at most `seconds` of what is left."""
        at = min(self.at, time.monotonic() + seconds)
        return Deadline(at, awaited, max(0.0, at - time.monotonic()))

    def error(self, seen: str = "", **parts: str) -> DeadlineExpired:
        """Build the error that says what was awaited for how long."""
        return DeadlineExpired(
            f"waited {self.budget:.1f} s for {self.awaited}", seen=seen, **parts
        )


def poll(
    probe: Callable[[], T | None],
    deadline: Deadline,
    *,
    interval: float = 0.05,
    seen: Callable[[], str] = str,
) -> T:
    """Return the first value of `probe` that is not None.

    The probe may raise to give up early, on certain failure. It is called once again
    after the deadline has passed, so that a slow last probe still counts. `seen` is
    asked for the evidence only when the time is up.

    Raises DeadlineExpired.
    """
    while True:
        last_try = deadline.expired
        value = probe()
        if value is not None:
            return value
        if last_try:
            raise deadline.error(seen())
        time.sleep(min(interval, max(0.001, deadline.remaining)))


def tick(start: float, period: float, count: int) -> None:
    """Sleep until the `count`-th beat of a clock that began at `start` (monotonic, s).

    Samplers use it so that the cost of taking a sample does not stretch the period.
    """
    time.sleep(max(0.0, start + count * period - time.monotonic()))
