"""A QEMU command line, read for what a spec says about a machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.shell.shim import pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZE = re.compile(r"(?:size=)?(\d+)([KMGT]?)(?:,.*)?")
_MIB = {"K": 1 / 1024, "": 1.0, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What of a machine is decided on its command line; `direct` bypasses the disk."""

    mem: float
    vcpu: int
    macs: tuple[str, ...]
    taps: tuple[str, ...]
    files: tuple[str, ...]
    direct: tuple[str, ...]

    @classmethod
    def of(cls, argv: Sequence[str]) -> CommandLine:
        """Read an argv; what it does not say has QEMU's own default."""
        found = [(option, value or "") for option, value in pairs(list(argv))]
        return cls(
            mem=_mem([v for o, v in found if o == "-m"]),
            vcpu=_vcpu([v for o, v in found if o == "-smp"]),
            macs=_all(found, r"mac=([0-9a-fA-F:]{17})", "-device", "-nic", "-net"),
            taps=_all(found, r"ifname=([^,]+)", "-netdev", "-nic", "-net"),
            files=_files(found),
            direct=tuple(o for o, _ in found if o in ("-kernel", "-initrd", "-append")),
        )


def _mem(values: Sequence[str]) -> float:
    match = _SIZE.fullmatch(values[-1]) if values else None
    return float(match[1]) * _MIB[match[2]] if match else 128.0


def _vcpu(values: Sequence[str]) -> int:
    match = re.match(r"(?:cpus=)?(\d+)", values[-1]) if values else None
    named = re.search(r"\bcpus=(\d+)", values[-1]) if values else None
    found = match or named
    return int(found[1]) if found else 1


def _files(found: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    # The `file` of a block device names another one, not a file.
    named = _all(found, r"(?:^|,)(?:file\.)?filename=([^,]+)", "-drive", "-blockdev")
    drives = _all(found, r"(?:^|,)file=([^,]+)", "-drive")
    return (*drives, *named, *(v for o, v in found if o in ("-hda", "-cdrom")))


def _all(
    found: Sequence[tuple[str, str]], pattern: str, *options: str
) -> tuple[str, ...]:
    return tuple(
        match for o, v in found if o in options for match in re.findall(pattern, v)
    )
