"""The manifest of an image: packages, tools, and sizes of its file systems."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.image.disk import MIB, PartitionTable, Space, read_superblock

if TYPE_CHECKING:
    from pathlib import Path

_SUPERBLOCK_READ = 4096
_COLUMNS = 3
_VERSION = re.compile(r"\d+(?:\.\d+)+\S*")


def parse_packages(text: str) -> list[list[str]]:
    """Return [name, version, architecture] of each line that dpkg-query printed."""
    rows = [line.split("\t") for line in text.splitlines()]
    return sorted(row for row in rows if len(row) == _COLUMNS)


def deb_name(name: str, version: str, architecture: str) -> str:
    """Return the file name under which apt keeps a package."""
    return f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"


def resolved(out: Path) -> dict[str, Any]:
    """Return the packages, with versions, that a build's names resolved to."""
    pool = out / "pool.txt"
    return {
        "packages": parse_packages((out / "packages.tsv").read_text()),
        "pool": sorted(pool.read_text().split()) if pool.exists() else [],
    }


def deb_names(resolution: dict[str, Any]) -> set[str]:
    """Return the names of all package files that a build needed."""
    installed = {deb_name(*row) for row in resolution["packages"]}
    return installed | set(resolution["pool"])


def file_systems(disk: Path, layout: PartitionTable) -> dict[str, dict[str, int]]:
    """Return size and inodes of the two file systems on a raw disk."""
    return {
        "boot": _describe(_space(disk, layout.boot.offset)),
        "root": _describe(_space(disk, layout.root.offset)),
    }


def _space(disk: Path, offset: int) -> Space:
    with disk.open("rb") as file:
        file.seek(offset)
        return read_superblock(file.read(_SUPERBLOCK_READ))


def _describe(space: Space) -> dict[str, int]:
    return {
        "bytes": space.bytes,
        "bytes_used": space.bytes_used,
        "inodes": space.inodes,
        "inodes_used": space.inodes_used,
        "bytes_per_inode": space.bytes_per_inode,
    }


def tool_version(said: str) -> str:
    """Return the first version number in what a tool printed about itself."""
    found = _VERSION.search(said)
    return found[0].rstrip(",)") if found else "unknown"


def summary(manifest: dict[str, Any]) -> str:
    """Say in one line what an image holds."""
    root = manifest["file_systems"]["root"]
    return (
        f"{len(manifest['resolved']['packages'])} packages,"
        f" {root['bytes_used'] // MIB} MiB in {root['inodes_used']} inodes on /"
    )
