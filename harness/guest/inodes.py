"""The inodes view: how many a guest's file systems have, use, and lose per cycle."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.guest.script import Sections, ask, reads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.guest.transport import Guest

_MOUNTS = ("/", "/nix", "/boot", "/tmp", "/var", "/home")  # noqa: S108  # in the guest


@dataclass(frozen=True, slots=True)
class InodeSample:
    """What statvfs says of the file system that holds a directory.

    `at` is the guest's uptime in seconds. A file system without a fixed number of
    inodes (btrfs) has a `total` of 0.
    """

    mount: str
    fstype: str
    at: float
    total: int
    free: int
    size_bytes: int
    free_bytes: int

    @property
    def used(self) -> int:
        """Inodes in use."""
        return self.total - self.free

    @property
    def share(self) -> float:
        """The share of the inodes in use, 0 to 1."""
        return self.used / self.total if self.total else 0.0

    @property
    def bytes_per_inode(self) -> float:
        """Bytes of the file system for each inode it has; infinite without a limit."""
        return self.size_bytes / self.total if self.total else float("inf")


@dataclass(frozen=True, slots=True)
class Census:
    """Which directories hold the inodes, most first, and what onboarding left over."""

    directories: Mapping[str, int]
    leftovers: Mapping[str, int]


class Inodes:
    """Counts a guest's inodes."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def sample(self, *mounts: str) -> dict[str, InodeSample]:
        """Ask statvfs, by directory; one process. Without any, of the usual ones."""
        return parse_sample(ask(self._guest, "inodes.sh", *(mounts or _MOUNTS)))

    def census(
        self, root: str = "/", *, depth: int = 2, timeout: float = 300.0
    ) -> Census:
        """Count the inodes below each directory; this walks the whole file system."""
        sections = ask(self._guest, "census.sh", root, str(depth), timeout=timeout)
        return parse_census(sections)


@reads
def parse_sample(sections: Sections) -> dict[str, InodeSample]:
    """Read what `inodes.sh` printed."""
    at = float(sections.value("uptime"))
    samples: dict[str, InodeSample] = {}
    for line in sections.lines("filesystems"):
        total, free, block, blocks, unused, fstype, mount = line.split(maxsplit=6)
        samples[mount] = InodeSample(
            mount=mount,
            fstype=fstype,
            at=at,
            total=int(total),
            free=int(free),
            size_bytes=int(blocks) * int(block),
            free_bytes=int(unused) * int(block),
        )
    return samples


@reads
def parse_census(sections: Sections) -> Census:
    """Read what `census.sh` printed."""
    return Census(
        directories=_counts(sections.lines("census")),
        leftovers=_counts(sections.lines("leftovers")),
    )


def slope(values: Sequence[float]) -> float:
    """Fit a line through values taken once per cycle; return its rise per cycle.

    Least squares. Raises StatisticsError, a ValueError, for fewer than two values.
    """
    return statistics.linear_regression(range(len(values)), values).slope


def _counts(lines: list[str]) -> dict[str, int]:
    pairs = (line.split(maxsplit=1) for line in lines)
    return {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2}  # noqa: PLR2004
