"""Traces of a machine on its host: recorded while it runs, searched afterwards.

It asks only the kernel, not the machine or its shell: processes, descriptors, names in
the file system and links.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.process import alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    Inode = tuple[int, int]

_PROC = Path("/proc")


@dataclass(frozen=True)
class Trace:
    """One machine's traces: its directory, and all files in it.

    `files` are descriptors that only name a file (O_PATH), by what it was called: so a
    file is known again wherever it is moved or linked to.
    """

    directory: Path
    files: dict[Path, int]

    def names_left(self) -> list[str]:
        """List the files that still have a name, and what is new in the directory."""
        moved = [f"{p} (by some name)" for p, fd in self.files.items() if _linked(fd)]
        here = [self.directory, *self.directory.rglob("*")]
        return sorted({*moved, *(str(path) for path in here if path.exists())})

    def processes(self) -> list[str]:
        """List who runs with the machine's directory, or what is in it, in its command.

        Of no other name a run can be sure: the machine next door may have the same.
        """
        found = []
        for pid in _pids():
            words = _command(pid)
            if any(_names(word, str(self.directory)) for word in words) and alive(pid):
                found.append(f"{pid}: {' '.join(words)[:120]}")
        return found

    def holders(self) -> list[str]:
        """List who has a file of the machine's open or mapped, deleted or not.

        As far as this user may look: root sees all.
        """
        inodes = {_inode(os.fstat(fd)) for fd in self.files.values()}
        ours = set(self.files.values())
        return [
            f"{pid}: {' '.join(_command(pid))[:120]}"
            for pid in _pids()
            if inodes & _held(pid, set() if pid != os.getpid() else ours)
        ]


@contextmanager
def trace(directory: Path) -> Iterator[Trace]:
    """Know a machine's files for the length of the `with`, without holding any open."""
    with ExitStack() as stack:
        files = {}
        for path in sorted(directory.rglob("*")):
            files[path] = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            stack.callback(os.close, files[path])
        yield Trace(directory, files)


def _linked(fd: int) -> bool:
    return os.fstat(fd).st_nlink > 0


def _names(word: str, directory: str) -> bool:
    """Whether a word of a command line, such as QEMU's with its commas, means it."""
    parts = word.replace("=", ",").split(",")
    return any(part == directory or part.startswith(f"{directory}/") for part in parts)


def _held(pid: int, but: set[int]) -> set[Inode]:
    held = set()
    with suppress(OSError):
        for link in (_PROC / str(pid) / "fd").iterdir():
            if int(link.name) not in but:
                with suppress(OSError):
                    held.add(_inode(link.stat()))
    with suppress(OSError):
        for line in (_PROC / str(pid) / "maps").read_text().splitlines():
            _, _, _, device, inode, *_ = line.split(maxsplit=5)
            major, _, minor = device.partition(":")
            held.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    return held


def _inode(facts: os.stat_result) -> Inode:
    return (facts.st_dev, facts.st_ino)


def _pids() -> list[int]:
    return sorted(int(path.name) for path in _PROC.iterdir() if path.name.isdigit())


def _command(pid: int) -> list[str]:
    with suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        return [word.decode(errors="replace") for word in words if word]
    return []
