"""Which processes use a cache: runs, builds, and QEMU with its disks.

A run holds a file of the cache open and locked (`in_use`); QEMU has its disks open, a
build the lock of what it builds. So the open files of processes say it all, and a
process that was killed leaves no trace.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = ".in-use"


@dataclass(frozen=True, slots=True)
class CacheUser:
    """A process with open files in a cache."""

    pid: int
    name: str
    files: frozenset[Path]

    def __str__(self) -> str:
        return f"PID {self.pid} ({self.name})"


@contextmanager
def in_use(cache: Path) -> Iterator[None]:
    """Keep `clean` from removing what this process is going to use."""
    try:
        handle = os.open(cache / _MARK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # read-only: it cannot be cleaned either
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


@contextmanager
def cleaning(cache: Path) -> Iterator[None]:
    """Keep runs from beginning to use the cache; those that use it already go on."""
    handle = os.open(cache / _MARK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def users_of(cache: Path) -> list[CacheUser]:
    """List all other processes that have a file below `cache` open, by PID.

    Raises HostError where /proc cannot be read.
    """
    inside = cache.resolve()
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208
    except OSError as error:
        raise HostError(f"cannot see which processes use the cache: {error}") from error
    found = [_user(pid, inside) for pid in sorted(pids) if pid != os.getpid()]
    return [user for user in found if user is not None]


def _user(pid: int, inside: Path) -> CacheUser | None:
    """Return a process if it uses the cache; one that ends meanwhile does not."""
    files = set()
    process = Path("/proc") / str(pid)
    try:
        for handle in (process / "fd").iterdir():
            try:
                path = handle.readlink()
            except OSError:  # closed meanwhile
                continue
            if path.is_relative_to(inside):
                files.add(path)
        name = (process / "comm").read_text().strip()
    except OSError:  # gone, or of another user, who cannot use this cache
        return None
    return CacheUser(pid, name, frozenset(files)) if files else None
