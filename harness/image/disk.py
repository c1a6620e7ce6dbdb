"""The raw disk of the cloud image: two partitions, and GRUB in the gap before them.

No loop device, no mount and no grub-install: the partition table is written into a
file, the file systems at their offsets, and GRUB's two images where the BIOS and the
block list inside them expect them by default (boot.img: "kernel_sector" = 1;
diskboot.img: the rest of core.img from sector 2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from harness.errors import HarnessError

SECTOR = 512
MIB = 1 << 20

_BOOT_CODE = 440  # bytes of an MBR before the disk's signature and the partition table
_MAGIC = b"\x55\xaa"
_SUPERBLOCK = 1024
_EXT_MAGIC = 0xEF53


@dataclass(frozen=True, slots=True)
class Partition:
    """A stretch of the disk, in bytes."""

    offset: int
    size: int

    @property
    def kib(self) -> int:
        """Its size in KiB, as mke2fs takes it."""
        return self.size // 1024


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """How the disk is divided; sizes in MiB.

    The root comes last, so that growpart can grow it. It is sparse: its size here only
    has to hold the packages, and to stay below the smallest disk in a fleet file.
    """

    gap_mib: int = 1
    boot_mib: int = 384
    root_mib: int = 3072

    @property
    def boot(self) -> Partition:
        """/boot, with room for a kernel and an initrd of many generations."""
        return Partition(self.gap_mib * MIB, self.boot_mib * MIB)

    @property
    def root(self) -> Partition:
        """The root file system."""
        return Partition(self.boot.offset + self.boot.size, self.root_mib * MIB)

    @property
    def size(self) -> int:
        """Bytes of the whole disk."""
        return self.root.offset + self.root.size

    @property
    def sfdisk(self) -> str:
        """The partition table as sfdisk reads it; the disk's id is always the same."""
        boot = f"start={self.boot.offset // SECTOR}, size={self.boot.size // SECTOR}"
        root = f"start={self.root.offset // SECTOR}, size={self.root.size // SECTOR}"
        return (
            "label: dos\nlabel-id: 0x5ef0cafe\nunit: sectors\n"
            f"{boot}, type=83, bootable\n{root}, type=83\n"
        )


def boot_sectors(mbr: bytes, boot: bytes, core: bytes, gap: int) -> bytes:
    """Return the first sectors of a disk that GRUB boots from.

    `mbr` is the disk's first sector with its partition table, `boot` and `core` are
    GRUB's boot.img and core.img, `gap` the bytes before the first partition. Raises
    HarnessError when they do not fit together.
    """
    if len(mbr) != SECTOR or mbr[-2:] != _MAGIC:
        raise HarnessError("the disk has no partition table")
    if len(boot) != SECTOR or boot[-2:] != _MAGIC:
        raise HarnessError(f"boot.img is no boot sector ({len(boot)} bytes)")
    if len(core) > gap - SECTOR:
        raise HarnessError(
            f"core.img has {len(core)} bytes, the gap before the first partition"
            f" holds {gap - SECTOR}",
            hint="take modules out of harness/reference/cloud/grub-modules",
        )
    return boot[:_BOOT_CODE] + mbr[_BOOT_CODE:] + core


@dataclass(frozen=True, slots=True)
class Space:
    """What an ext4 file system holds."""

    inodes: int
    inodes_used: int
    bytes: int
    bytes_used: int

    @property
    def bytes_per_inode(self) -> int:
        """Bytes of the file system for each of its inodes."""
        return self.bytes // self.inodes


def read_superblock(block: bytes) -> Space:
    """Read how full an ext4 file system is from its first 2 KiB.

    Source: the kernel's Documentation/filesystems/ext4/super.rst; the high halves of
    64-bit counts stay 0 below 16 TiB. Raises HarnessError.
    """
    head = block[_SUPERBLOCK : _SUPERBLOCK + 58]
    if len(head) < 58 or struct.unpack_from("<H", head, 56)[0] != _EXT_MAGIC:  # noqa: PLR2004
        raise HarnessError("no ext4 file system where the image should have one")
    inodes, blocks, _, free_blocks, free_inodes, _, shift = struct.unpack_from(
        "<7I", head
    )
    size = SECTOR * 2 << shift
    return Space(
        inodes, inodes - free_inodes, blocks * size, (blocks - free_blocks) * size
    )
