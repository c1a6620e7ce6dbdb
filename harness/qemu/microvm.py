"""The command line of a microvm: a host's kernel, a host's store, a small disk.

As astro/microvm.nix runs a guest under QEMU (its `lib/runners/qemu.nix` and
`doc/src/shares.md`): the guest does not decide what is booted, and its store is the
host's, by virtiofs. Pure, like `cmdline`; `harness.machine.microvm` runs the sidecars
that serve the shares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.qemu.cmdline import MachinePlan, Ram, Share, option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Tags of the shares, by which stage 1 mounts them. In a NixOS all of the base lies in
# the store; the reference guest's is Debian's /usr.
STORE, BASE = "ro-store", "base"
INIT = "microvm-init"

_FILE = 0o100755


@dataclass(frozen=True, slots=True)
class HostKernel:
    """What a host boots its guest with; `append` is the kernel's command line."""

    kernel: Path
    initrd: Path
    append: str


def direct_boot(plan: MachinePlan, system: HostKernel) -> MachinePlan:
    """Boot a host's kernel instead of the boot loader on the disk.

    QEMU's boot ROM for a kernel needs the bootindex that the disk has, so the disk is
    attached again without one. Raises ValueError for a plan without a disk.
    """
    if plan.disk is None:
        raise ValueError("there is no disk to boot past")
    layers = option(
        "", driver="qcow2", node_name="disk", discard="unmap", cache__no_flush=True,
        file__driver="file", file__filename=plan.disk.path, file__cache__no_flush=True,
    )  # fmt: skip
    device = option("virtio-blk-pci", drive="disk", serial=plan.disk.serial)
    return replace(
        plan,
        disk=None,
        kernel=system.kernel,
        initrd=system.initrd,
        append=system.append,
        extra=(*plan.extra, "-blockdev", layers, "-device", device),
    )


def microvm(
    plan: MachinePlan, system: HostKernel, sockets: Mapping[str, Path]
) -> MachinePlan:
    """Turn a plan into a microvm's: direct boot, shares, no seed.

    `sockets` are those of the virtiofsd of each share, by tag. virtiofsd reads and
    writes the guest's memory, so that is a shared mapping; a directory as its path has
    QEMU make a file there that has no name.
    """
    return replace(
        direct_boot(plan, system),
        seed=None,
        ram=Ram(path=plan.directory, shared=True),
        shares=tuple(Share(tag=tag, socket=path) for tag, path in sockets.items()),
    )


def virtiofsd(program: Path, directory: Path, descriptor: int) -> list[str]:
    """Build the command that serves a directory on an inherited, listening socket.

    The words are those that QEMU's own virtiofsd and its successor in Rust both know;
    `cache=auto` is microvm.nix's choice, too. It holds a descriptor for every file that
    the guest has looked at, so it gets as many as this user may have.
    """
    raise_limit = 'ulimit -n "$(ulimit -Hn)" && exec "$@"'
    # fmt: off
    return [
        "sh", "-c", raise_limit, "virtiofsd",
        str(program), f"--fd={descriptor}", "--rlimit-nofile=0",
        "-o", f"source={directory}", "-o", "cache=auto",
    ]
    # fmt: on


def with_init(initrd: bytes, script: bytes) -> bytes:
    """Add a stage 1 to an initial RAM disk, under the name `INIT`.

    The kernel unpacks any number of cpio archives one after the other (Documentation/
    driver-api/early-userspace/buffer-format.rst); the next begins on four bytes.
    """
    before = initrd + b"\0" * (-len(initrd) % 4)
    return before + _entry(INIT, _FILE, script) + _entry("TRAILER!!!", 0, b"")


def _entry(name: str, mode: int, content: bytes) -> bytes:
    """Write one entry of a newc archive; it belongs to root and has no time."""
    encoded = name.encode() + b"\0"
    fields = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    head += b"\0" * (-len(head) % 4)
    return head + content + b"\0" * (-len(content) % 4)
