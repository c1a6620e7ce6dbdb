"""A lock next to a run's journals, which says for how long the run is alive.

The kernel releases it however the process ends, so no PID has to be trusted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from harness.report.journal import written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK = "lock"
# Journals of older versions have no lock: their run is over after such a silence.
_SILENT_S = 24 * 3600.0


@contextmanager
def held(journals: Path) -> Iterator[None]:
    """Hold the lock for the length of the `with`; at its end remove unused places.

    Where it cannot be made (a full disk), the run goes on without.
    """
    reports = journals.parent.parent
    fresh = not reports.exists()
    handle = _make(journals)
    try:
        yield
    finally:
        if not written(journals):
            shutil.rmtree(journals, ignore_errors=True)
            with suppress(OSError):  # it holds something
                journals.parent.rmdir()
                if fresh:
                    reports.rmdir()
        if handle is not None:
            os.close(handle)


@contextmanager
def abandoned(journals: Path) -> Iterator[bool]:
    """Whether a run's controller is gone; then no other process has it meanwhile."""
    handle = _take(journals)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _make(journals: Path) -> int | None:
    """Make the lock; it appears locked, so that none takes it in between."""
    handle = None
    draft = journals / f".{_LOCK}-{os.getpid()}"
    try:
        journals.mkdir(parents=True, exist_ok=True)
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        draft.replace(journals / _LOCK)
    except OSError:
        if handle is not None:
            os.close(handle)
        return None
    return handle


def _take(journals: Path) -> int | None:
    """Take the lock of a run that is gone; None where it is alive, or not ours."""
    lock, flags = journals / _LOCK, os.O_RDWR | os.O_CLOEXEC
    handle = None
    try:
        if not lock.exists() and _silent(journals):
            flags |= os.O_CREAT
        handle = os.open(lock, flags, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The one that had it until now may have removed it.
        if os.path.samestat(os.fstat(handle), lock.stat()):
            return handle
    except OSError:
        pass
    if handle is not None:
        os.close(handle)
    return None


def _silent(journals: Path) -> bool:
    last = max((path.stat().st_mtime for path in journals.glob("*.jsonl")), default=0.0)
    return time.time() - max(last, journals.stat().st_mtime) > _SILENT_S
