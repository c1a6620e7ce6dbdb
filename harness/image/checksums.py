"""SHA-256 checksums of what a cache holds, and the proof that it is still the same.

A cache may be moved, restored from an archive, or damaged on its disk. `sums_of` is
recorded where an entry is made. `damage_of` reads everything; `unchanged` only asks
whether the files are those that were read last, by inode, size and times: a copy has
other ones, and is read in full at its first use.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, InputError
from harness.files import read_input, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Sums = Mapping[str, Mapping[str, Any]]

CHECKED = ".checked"
"""The file that records when an entry was read in full, and what it was then."""
FRESH_S = 3600.0
"""Seconds for which the files of an unchanged entry count as read."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of the cache that is not what was stored there."""

    path: Path
    expected: str
    seen: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, seen {self.seen}"


def sums_of(directory: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of files, and of directory trees, by name.

    The size of a tree is its number of entries. Raises OSError.
    """
    return {name: _sum(directory / name) for name in sorted(names)}


def damage_of(directory: Path, sums: Sums) -> list[Damage]:
    """Read the named files and trees in full; return what differs."""
    return [
        damage
        for name, expected in sorted(sums.items())
        if (damage := _compare(directory / name, dict(expected)))
    ]


def trusted(directory: Path, sums: Sums, *, fresh: bool = False) -> list[Damage]:
    """Return what differs, without reading what is unchanged since it was last read.

    With `fresh`, that must have been within the last hour. A cache that cannot be
    written to is read each time.
    """
    identity = {name: _identity(directory / name) for name in sums}
    known = _known(directory)
    oldest = time.time() - FRESH_S if fresh else 0.0
    if all(
        now is not None and _read_as(known.get(name), now, sums[name], oldest)
        for name, now in identity.items()
    ):
        return []
    return verified(directory, sums)


def verified(directory: Path, sums: Sums) -> list[Damage]:
    """Read everything, whenever it was read last; return what differs."""
    identity = {name: _identity(directory / name) for name in sums}
    damages = damage_of(directory, sums)
    if not damages:
        note(directory, sums, identity, _known(directory))
    return damages


def note(
    directory: Path,
    sums: Sums,
    identity: Mapping[str, Any] | None = None,
    known: Mapping[str, Any] | None = None,
) -> None:
    """Record that the files have just been read, and are what `sums` says."""
    seen = identity or {name: _identity(directory / name) for name in sums}
    read = {
        name: {"is": seen[name], "sha256": sums[name]["sha256"], "at": time.time()}
        for name in sums
    }
    with suppress(OSError):
        write_whole(directory / CHECKED, json.dumps({**(known or {}), **read}) + "\n")


def _read_as(
    known: Mapping[str, Any] | None, now: Any, sums: Mapping[str, Any], oldest: float
) -> bool:
    """Return whether a file is the one that was read, with this result, since then."""
    if known is None or known.get("is") != now or "sha256" not in sums:
        return False
    read_at = known.get("at")
    if not isinstance(read_at, float) or not oldest <= read_at <= time.time():
        return False
    return bool(known.get("sha256") == sums["sha256"])


def _known(directory: Path) -> dict[str, Any]:
    try:
        known = json.loads(read_input(directory / CHECKED))
        return {k: dict(v) for k, v in dict(known).items()}
    except (InputError, ValueError, TypeError, RecursionError):
        return {}


def _identity(path: Path) -> list[Any] | None:
    """Return what changes when a file is written, replaced or copied; None without."""
    try:
        now = path.stat()
        own = [now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns]
        if not path.is_dir():
            return own
        tree = hashlib.sha256()
        for entry in sorted(path.rglob("*")):
            now = entry.lstat()
            seen = (
                str(entry),
                now.st_ino,
                now.st_size,
                now.st_mtime_ns,
                now.st_ctime_ns,
            )
            tree.update(repr(seen).encode())
        return [*own, tree.hexdigest()]
    except OSError:
        return None


def _compare(path: Path, expected: dict[str, Any]) -> Damage | None:
    try:
        if path.is_file() and path.stat().st_size != expected.get("size"):
            size = path.stat().st_size
            return Damage(path, f"{expected.get('size')} bytes", f"{size} bytes")
        seen = _sum(path)
    except FileNotFoundError:
        return Damage(path, "a file", "nothing")
    except OSError as error:
        return Damage(path, "a readable file", error.strerror or str(error))
    if seen == expected:
        return None
    return Damage(path, f"sha256 {expected.get('sha256')}", f"sha256 {seen['sha256']}")


def _sum(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        with path.open("rb") as file:
            total = hashlib.file_digest(file, "sha256")
        return {"size": path.stat().st_size, "sha256": total.hexdigest()}
    entries = sorted(path.rglob("*"))
    tree = hashlib.sha256()
    for entry in entries:
        tree.update(_described(entry, str(entry.relative_to(path))))
    return {"size": len(entries), "sha256": tree.hexdigest()}


def _described(path: Path, name: str) -> bytes:
    """Digest one entry of a tree: its name, kind, mode, and content or target."""
    status = path.lstat()
    kind = stat.S_IFMT(status.st_mode)
    line = f"{os.fsencode(name)!r} {status.st_mode:o}"
    if kind == stat.S_IFLNK:
        return f"{line} {os.fsencode(path.readlink())!r}\n".encode()
    if kind == stat.S_IFREG:
        with path.open("rb") as file:
            return (
                f"{line} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    return f"{line}\n".encode()


def content_of(disk: Path) -> str:
    """Return the SHA-256 of what a disk holds, however sparse its file is.

    Blocks of zeros are left out, so holes count as what they read as.
    """
    total, zeros = hashlib.sha256(), bytes(_CHUNK)
    with disk.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        total.update(f"{end}\n".encode())
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // _CHUNK * _CHUNK
            except OSError:  # ENXIO: only a hole is left
                break
            block = os.pread(file.fileno(), _CHUNK, at)
            if block != zeros[: len(block)]:
                total.update(f"{at}\n".encode() + block)
            at += _CHUNK
    return total.hexdigest()


def demand(damages: Iterable[Damage], what: str) -> None:
    """Raise HarnessError about a cached entry when anything of it is damaged."""
    if found := list(damages):
        first = found[0]
        raise HarnessError(
            f"the cached {what} is damaged: {first.path}",
            seen=f"{first.seen}, expected {first.expected}",
            evidence=[str(damage) for damage in found[1:]],
            hint="run `harness clean --damaged`; what is missing is built again",
        )
