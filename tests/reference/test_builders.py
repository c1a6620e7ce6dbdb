"""The builders: initrd, /etc tree, small files, package pins."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from nixguest import etc_tree, initrd

from harness.process import run
from tests.waiting import patient

NIXOS = Path(__file__).parents[2] / "harness/reference/nixos"

DEPENDENCIES = """\
kernel/virtio_net.ko.xz: kernel/net/net_failover.ko.xz kernel/net/failover.ko.xz
kernel/net/net_failover.ko.xz: kernel/net/failover.ko.xz
kernel/net/failover.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz:
"""


def test_modules_load_in_order_of_need() -> None:
    """What a module needs comes before it, once, and built-in ones not at all."""
    wanted = ["virtio-net", "virtio_blk", "ext4", "net_failover"]
    order = initrd.resolve(wanted, DEPENDENCIES, "kernel/fs/ext4/ext4.ko\n")
    names = [initrd.canonical(path) for path in order]
    assert names == ["failover", "net_failover", "virtio_net", "virtio_blk"]


def test_unknown_module_is_refused() -> None:
    """An initrd without a module that was asked for would not boot."""
    with pytest.raises(SystemExit, match="no module nvme"):
        initrd.resolve(["nvme"], DEPENDENCIES, "")


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Read a newc archive back, by its description in the kernel's documentation."""
    found: dict[str, tuple[int, bytes]] = {}
    position = 0
    while True:
        assert archive[position : position + 6] == b"070701"
        head = archive[position + 6 : position + 110].decode()
        fields = [int(head[start : start + 8], 16) for start in range(0, 104, 8)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = archive[position + 110 : position + 110 + name_size - 1].decode()
        content = -(-(position + 110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[content : content + size])
        position = -(-(content + size) // 4) * 4


def test_archive_is_a_cpio_archive() -> None:
    """Names, modes and contents of any length come out as they went in."""
    archive = initrd.Archive()
    archive.add("bin", initrd.DIRECTORY | 0o755)
    archive.add("bin/tool", initrd.FILE | 0o755, b"#!tool\n")
    archive.add("bin/sh", initrd.LINK | 0o777, b"tool")
    assert entries(archive.finish()) == {
        "bin": (0o040755, b""),
        "bin/tool": (0o100755, b"#!tool\n"),
        "bin/sh": (0o120777, b"tool"),
    }


def unit(**changes: object) -> dict[str, object]:
    """Return a unit as the systemd module hands it to the builder."""
    return {
        "enable": True, "text": "[Unit]\n", "overrides": False, "aliases": [],
        "wants": [], "requires": [], "upholds": [], **changes,
    }  # fmt: skip


def test_units_are_files_dropins_links_or_masked(tmp_path: Path) -> None:
    """Every way in which a generation brings a unit about."""
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    (upstream / "multi-user.target").write_text("[Unit]\n")
    units = {
        "lab.service": unit(wants=["multi-user.target"], aliases=["x.service"]),
        "networkd.service": unit(overrides=True),
        "cloud-init.service": unit(enable=False),
    }
    out = tmp_path / "units"
    etc_tree.write_units(str(out), units, str(upstream), ["multi-user.target"])
    assert (out / "lab.service").read_text() == "[Unit]\n"
    wants = out / "multi-user.target.wants/lab.service"
    assert wants.resolve() == out / "lab.service"
    assert (out / "x.service").readlink() == Path("lab.service")
    assert (out / "networkd.service.d/overrides.conf").is_file()
    assert (out / "cloud-init.service").readlink() == Path("/dev/null")
    assert (out / "multi-user.target").resolve() == upstream / "multi-user.target"


def test_small_files_are_many_and_reproducible(tmp_path: Path) -> None:
    """The builder makes exactly as many files as asked for, always the same."""
    digests = []
    for name in ("one", "two"):
        out = tmp_path / name
        attrs = tmp_path / f"{name}.json"
        attrs.write_text(
            json.dumps({"outputs": {"out": str(out)}, "count": 600, "seed": "s"})
        )
        builder = NIXOS / "nix/build-support/small_files.py"
        run(
            [sys.executable, str(builder)],
            env={"NIX_ATTRS_JSON_FILE": str(attrs)},
            deadline=patient(60, "the builder"),
        ).check()
        files = sorted(path for path in out.rglob("*") if path.is_file())
        assert len(files) == 600
        content = b"".join(path.read_bytes() for path in files)
        digests.append(hashlib.sha256(content).hexdigest())
    assert digests[0] == digests[1]


def test_pins_name_hash_and_version(tmp_path: Path) -> None:
    """pin-debs hashes both the stable kernel and the backported one."""
    pool = tmp_path / "pool.list"
    pool.write_text(
        "# comment\ntrixie bash\ntrixie linux-image-cloud linux-image-*-cloud\n"
        "trixie-backports linux-image-cloud linux-image-*-cloud\n"
    )
    names = {
        "bash": "bash_5.2.37-2_amd64.deb",
        "linux-image-6.12-cloud": "linux-image-6.12-cloud_6.12.1-1_amd64.deb",
        "linux-image-7.3-cloud": "linux-image-7.3-cloud_7.3.4-1~bpo13+1_amd64.deb",
    }
    debs = tmp_path / "debs"
    debs.mkdir()
    for package, name in names.items():
        (debs / name).write_text(package)
    done = run(
        [sys.executable, str(NIXOS / "pin-debs"), str(pool), str(debs)],
        deadline=patient(60, "pin-debs"),
    ).check()
    pins = json.loads(done.stdout)
    assert [pin["package"] for pin in pins] == list(names)
    assert [pin["version"] for pin in pins] == ["5.2.37", "6.12.1", "7.3.4"]
    assert pins[0]["sha256"] == hashlib.sha256(b"bash").hexdigest()
