"""The raw disk: read back by sfdisk and e2fsprogs, not by our own code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.image.disk import (
    MIB,
    SECTOR,
    PartitionTable,
    boot_sectors,
    read_superblock,
)
from harness.process import run
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

    from harness.deadline import Deadline

SMALL = PartitionTable(boot_mib=8, root_mib=16)


def deadline() -> Deadline:
    """Bound one run of a disk tool."""
    return patient(20, "a disk tool")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Make a sparse disk with the partition table in it."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(SMALL.size)
    table = SMALL.sfdisk.encode()
    run(["sfdisk", "--quiet", str(path)], stdin=table, deadline=deadline()).check()
    return path


def test_the_root_is_the_last_partition_and_fills_the_disk(disk: Path) -> None:
    """Only the last one can grow."""
    said = run(["sfdisk", "--json", str(disk)], deadline=deadline()).check().stdout
    boot, root = json.loads(said)["partitiontable"]["partitions"]
    assert boot["bootable"]
    assert boot["start"] * SECTOR == SMALL.boot.offset == MIB
    assert root["start"] * SECTOR == SMALL.root.offset
    assert (root["start"] + root["size"]) * SECTOR == SMALL.size


def test_boot_code_leaves_the_partition_table_alone(disk: Path) -> None:
    """GRUB's boot.img has a table of its own, an empty one."""
    mbr = disk.read_bytes()[:SECTOR]
    boot = b"\xeb" * 510 + b"\x55\xaa"
    head = boot_sectors(mbr, boot, b"core" * 200, MIB)
    assert head[:440] == boot[:440]
    assert head[440:SECTOR] == mbr[440:]
    assert head[SECTOR : SECTOR + 4] == b"core"


def test_a_core_that_would_run_into_the_first_partition_is_refused(disk: Path) -> None:
    """It would overwrite the head of /boot's file system."""
    mbr = disk.read_bytes()[:SECTOR]
    boot = bytes(510) + b"\x55\xaa"
    fits = bytes(MIB - SECTOR)
    assert len(boot_sectors(mbr, boot, fits, MIB)) == MIB
    with pytest.raises(HarnessError, match="grub-modules"):
        boot_sectors(mbr, boot, fits + b"x", MIB)


@pytest.mark.parametrize(
    ("mbr", "boot"),
    [(bytes(SECTOR), bytes(510) + b"\x55\xaa"), (bytes(510) + b"\x55\xaa", b"short")],
    ids=["disk", "boot.img"],
)
def test_what_is_no_boot_sector_is_refused(mbr: bytes, boot: bytes) -> None:
    """A disk without a table, a boot.img that is none."""
    with pytest.raises(HarnessError):
        boot_sectors(mbr, boot, b"core", MIB)


def test_inode_figures_are_those_of_dumpe2fs(disk: Path) -> None:
    """The manifest says how full a file system is; e2fsprogs must agree."""
    where = f"{disk}?offset={SMALL.root.offset}"
    make = ["mke2fs", "-q", "-F", "-t", "ext4", "-i", "8192"]
    place = ["-E", f"offset={SMALL.root.offset}", str(disk), f"{SMALL.root.kib}k"]
    run(make + place, deadline=deadline()).check()
    with disk.open("rb") as file:
        file.seek(SMALL.root.offset)
        space = read_superblock(file.read(4096))
    said = run(["dumpe2fs", "-h", where], deadline=deadline()).check().stdout
    printed = dict(re.findall(r"^(.+?): +(\d+)$", said, re.MULTILINE))
    size = int(printed["Block size"])
    assert space.inodes == int(printed["Inode count"])
    assert space.inodes_used == space.inodes - int(printed["Free inodes"])
    assert space.bytes == int(printed["Block count"]) * size
    free = space.bytes - space.bytes_used
    assert free == int(printed["Free blocks"]) * size
    assert space.bytes_per_inode == pytest.approx(8192, rel=0.05)


def test_an_empty_partition_is_no_file_system() -> None:
    """A build that wrote nothing must not look like an image."""
    with pytest.raises(HarnessError, match="ext4"):
        read_superblock(bytes(4096))
