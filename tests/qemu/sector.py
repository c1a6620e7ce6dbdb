"""A guest of one boot sector: boots in a second, and is enough to judge an emulator.

It says `sector up, saved N` on the serial port, N being what it keeps on its disk. Then
each byte that is typed counts one up and answers with the count, except for `W` (save
the count on disk), `R` (reset), `Q` (power off by ACPI), `P` (panic by pvpanic) and `K`
(print the words of a kernel panic). The power button powers it off, too.

Assembled from `sector.s` by

    as --32 sector.s -o sector.o
    ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o sector.bin sector.o
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.process import run
from harness.qemu import Disk, MachinePlan
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

_CODE = bytes.fromhex(
    "31c08ed88ec08ed0bc007cbec07cac84c07405e89b00ebf6b80102e88700a000060430e8"
    "8b00b00ae88600c606000530ba0206b80001efba0006edf6c4017549bafd03eca80174ef"
    "baf803ec3c5074313c5174353c52743a3c5774103c4b7438fe060005a00005e84700ebcb"
    "a000052c30a20006b80103e82b00b077e83200ebb6ba0505b001eeebaeba0406b80020ef"
    "eba5b0fee664eb9fbed27cac84c07497e80e00ebf6bb0006b90200ba8000cd13c350bafd"
    "03eca82074f858baf803eec3736563746f722075702c20736176656420004b65726e656c"
    "2070616e6963202d206e6f742073796e63696e673a2061736b656420746f0a00"
)
BANNER = "sector up, saved "
READY = BANNER + ".\n"
SIZE = 1 << 20


def base_image(path: Path) -> Path:
    """Write the guest's disk image, as qcow2."""
    raw = path.with_suffix(".raw")
    raw.write_bytes((_CODE.ljust(510, b"\0") + b"\x55\xaa").ljust(SIZE, b"\0"))
    argv = ["qemu-img", "convert", "-O", "qcow2", str(raw), str(path)]
    run(argv, deadline=patient(20, "a disk image")).check()
    return path


def plan(directory: Path, disk: Path | None = None, **fields: object) -> MachinePlan:
    """Plan a machine of 32 MiB without a NIC."""
    values: dict[str, object] = {
        "name": "sector",
        "directory": directory,
        "mem": 32,
        "vcpu": 1,
        "mac": "52:54:00:00:00:01",
        "accelerator": "tcg",
        "cpu": "max",
        "tb_size": 16,
        "disk": disk and Disk(path=disk, serial="sector"),
        **fields,
    }
    return MachinePlan(**values)  # type: ignore[arg-type]
