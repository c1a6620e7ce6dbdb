"""Run directories: short, private, deleted by a later run when theirs was killed.

Short, because a Unix socket's path has 107 bytes at most. On a disk rather than under
`$XDG_RUNTIME_DIR`, which is memory: machines' disks grow here.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from harness.errors import HostError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = "lock"


@contextmanager
def runtime_directory(base: Path | None = None) -> Iterator[Path]:
    """Make a private directory for one process, removed at the end of the `with`.

    Also sweeps what processes that were killed left behind. Raises HostError when the
    place belongs to another user.
    """
    root = private(runtime_root() if base is None else base)
    with FileLock(root / _LOCK):
        sweep(root)
        directory = root / secrets.token_hex(3)
        directory.mkdir(mode=0o700)
        alive = FileLock(directory / _LOCK)
        alive.acquire()
    try:
        yield directory
    finally:
        alive.release()
        shutil.rmtree(directory, ignore_errors=True)


def sweep(root: Path) -> list[Path]:
    """Remove directories whose process is gone; the caller holds the root's lock."""
    return [path for path in sorted(root.iterdir()) if _abandoned(path)]


def sweep_runs() -> list[Path]:
    """Remove what killed runs of this user left, to have its room. Raises HostError."""
    root = private(runtime_root())
    with FileLock(root / _LOCK):
        return sweep(root)


def abandoned(place: Path) -> bool:
    """Whether a place is in a run directory whose process is gone."""
    root = runtime_root()
    if not (place.is_relative_to(root) and place.exists()):
        return False
    try:
        with FileLock(root / place.relative_to(root).parts[0] / _LOCK, timeout=0):
            return True
    except Timeout:
        return False


def private(root: Path) -> Path:
    """Make a directory for this user alone, or make sure that it is one."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = root.lstat()
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not mine or status.st_mode & 0o077:
        raise HostError(
            f"{root} is not this user's own directory with mode 0700",
            hint=f"remove it, or make it so: chmod 700 {root}",
        )
    return root


def runtime_root() -> Path:
    """Return where all runtime directories of this user are; it may not exist yet."""
    disk = Path("/var/tmp")  # noqa: S108 - a private directory inside, see `private`
    place = disk if os.access(disk, os.W_OK) else Path(tempfile.gettempdir())
    return place / f"vma-{os.geteuid()}"


def _abandoned(path: Path) -> bool:
    if not path.is_dir():
        return False
    try:
        with FileLock(path / _LOCK, timeout=0):
            shutil.rmtree(path, ignore_errors=True)
    except Timeout:
        return False
    return True
