"""The microvm's command line: golden lines, and an archive that a kernel reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.qemu.cmdline import build
from harness.qemu.microvm import (
    BASE,
    INIT,
    STORE,
    HostKernel,
    direct_boot,
    microvm,
    virtiofsd,
    with_init,
)
from tests.qemu.test_cmdline import GOLDEN, PLAN, RUN, added

SYSTEM = HostKernel(Path("/h/kernel"), Path("/h/initrd"), "init=/nix/store/x/init")
SOCKETS = {BASE: RUN / "base.sock", STORE: RUN / "ro-store.sock"}

DIRECT = """\
-blockdev driver=qcow2,node-name=disk,discard=unmap,cache.no-flush=on,\
file.driver=file,file.filename=/run/vm/dev/disk.qcow2,file.cache.no-flush=on
-device virtio-blk-pci,drive=disk,serial=dev
"""
KERNEL = """\
-kernel /h/kernel
-initrd /h/initrd
-append init=/nix/store/x/init
"""
SHARES = """\
-object memory-backend-file,id=ram,size=1024M,mem-path=/run/vm/dev,share=on
-chardev socket,id=share0,path=/run/vm/dev/base.sock
-device vhost-user-fs-pci,chardev=share0,tag=base
-chardev socket,id=share1,path=/run/vm/dev/ro-store.sock
-device vhost-user-fs-pci,chardev=share1,tag=ro-store
"""


def test_a_microvm_is_this_command_line() -> None:
    """A host's kernel, shares over shared memory, and the disk as mere data."""
    plan = microvm(PLAN, SYSTEM, SOCKETS)
    assert added(plan) == (SHARES + KERNEL + DIRECT).splitlines()
    argv = build(plan, qmp_fd=7)
    assert not [word for word in argv if "bootindex" in word or "seed" in word]


def test_direct_boot_alone_takes_nothing_else_away() -> None:
    """The disk stays the same one, only that nothing boots from it."""
    plan = direct_boot(PLAN, SYSTEM)
    assert added(plan) == (KERNEL + DIRECT).splitlines()
    assert plan.seed == PLAN.seed
    with pytest.raises(ValueError, match="no disk"):
        direct_boot(replace(PLAN, disk=None), SYSTEM)


def test_the_new_world_has_none_of_it() -> None:
    """Three options differ between the two."""
    for word in ("vhost-user-fs", "share=on", "-kernel"):
        assert word not in GOLDEN


def test_virtiofsd_serves_an_inherited_socket() -> None:
    """In words that both of its kinds know; the shell only raises a limit."""
    argv = virtiofsd(Path("/usr/lib/qemu/virtiofsd"), Path("/h/store"), 9)
    assert argv[:2] == ["sh", "-c"]
    assert argv[4:] == [
        "/usr/lib/qemu/virtiofsd",
        "--fd=9",
        "--rlimit-nofile=0",
        "-o",
        "source=/h/store",
        "-o",
        "cache=auto",
    ]


def test_an_init_is_added_as_an_archive_of_its_own() -> None:
    """The next archive begins at a multiple of four bytes."""
    script = b"#!/bin/busybox sh\n"
    for before in (b"", b"first", b"first123"):
        whole = with_init(before, script)
        assert whole.startswith(before)
        start = whole.index(b"070701")
        assert (start % 4, len(whole) % 4) == (0, 0)
        assert entries(whole[start:]) == {INIT: (0o100755, script)}


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read a newc archive as the kernel does, up to its trailer."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = at + -(-(110 + length) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[start : start + size])
        at = start + -(-size // 4) * 4
