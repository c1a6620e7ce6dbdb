"""Terminal output: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.status import Status

_PIPED = 160  # columns where standard output is no terminal
# Texts are those of guests and files: ":x:" in one is no emoji.
out = Console(
    highlight=False,
    emoji=False,
    soft_wrap=True,
    width=None if sys.stdout and sys.stdout.isatty() else _PIPED,
)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_KIB = 1024
_MINUTE = 60.0
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def explain(error: BaseException) -> None:
    """Print an error as one message: no traceback, but all that was noted on it."""
    err.print(f"harness: {error}", markup=False)
    for note in getattr(error, "__notes__", ()):
        err.print(note, markup=False)


@dataclass(slots=True)
class StepDisplay:
    """Live lines: each step with the time it began at, the last one with a spinner."""

    status: Status
    began: float = field(default_factory=time.monotonic)

    def step(self, text: str) -> None:
        """Say what begins now."""
        clock = clock_text(time.monotonic() - self.began)
        err.print(f"{clock}  {text}", markup=False)
        self.status.update(text)


@contextmanager
def live(first: str) -> Iterator[StepDisplay]:
    """Show progress for the length of the `with`; plain lines where no terminal is."""
    with err.status(first, refresh_per_second=4) as status:
        yield StepDisplay(status)


def table(*columns: str) -> Table:
    """Return an empty table in the one style that we have."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(made: Table) -> None:
    """Print a table without the blanks that pad its lines."""
    with out.capture() as capture:
        out.print(made)
    for line in capture.get().splitlines():
        out.print(line.rstrip(), markup=False)


def left_text(took: Sequence[float], count: int, jobs: int = 1) -> str:
    """Estimate from those that ended what is left of `count` of them."""
    if not took or len(took) >= count:
        return ""
    left = (count - len(took)) * sum(took) / len(took) / jobs
    return f", about {clock_text(left)} left"


def clock_text(seconds: float) -> str:
    """Write a duration as minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def size_text(size: float) -> str:
    """Write a number of bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB"):
        if size < _KIB:
            return f"{size:.0f} {unit}"
        size /= _KIB
    return f"{size:.1f} GiB"


def age_text(seconds: float) -> str:
    """Write an age in the unit that suits it."""
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
