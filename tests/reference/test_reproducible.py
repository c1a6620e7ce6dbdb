"""The hooks that make an image the same on every day and computer, on small trees."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.process import run
from harness.reference.builder import calm
from harness.reference.recipe import REFERENCE
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

PACKAGED = 1_700_000_000  # the time of the newest file in a package
STRIP = REFERENCE / "cloud/hooks/strip"
EMPTIED = (
    *("var/log", "var/cache/apt/archives", "var/lib/apt/lists", "tmp", "var/tmp"),
    *("run", "etc/ssh", "var/lib/dbus", "var/lib/systemd", "var/cache/ldconfig"),
)


@pytest.fixture(scope="module")
def as_root() -> list[str]:
    """Return the prefix that makes a command root in a user namespace."""
    argv = ["unshare", "--map-root-user", "--"]
    if run([*argv, "true"], deadline=patient(10, "unshare")).rc != 0:
        pytest.skip("user namespaces are not allowed here")
    return argv


def tree(root: Path, begin: int) -> Path:
    """Make what mmdebstrap makes, in a build that began at `begin`."""
    for name in (*EMPTIED, "usr/bin", "etc/apt/apt.conf.d", "etc/dpkg/dpkg.cfg.d"):
        (root / name).mkdir(parents=True)
    for name, at in {
        "usr/bin/old": PACKAGED - 500,
        "usr/bin/new": PACKAGED,
        "var/cache/apt/archives/a.deb": begin - 50,
        "etc/apt/sources.list": begin - 1,
        "etc/apt/apt.conf.d/99mmdebstrap": begin,
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap": begin,
        "usr/bin/made": begin + 60,
        "var/cache/ldconfig/aux-cache": begin + 60,
        "etc/shadow-": begin + 60,
    }.items():
        (root / name).write_text(f"{name}\n")
        os.utime(root / name, (at, at))
    day = begin // 86400
    (root / "etc/shadow").write_text(f"root:!*:{day}:0:99999:7:::\nx:!:{day}::::::\n")
    os.utime(root / "var/cache/apt/archives", (begin - 40, begin - 40))
    return root


def test_what_a_build_makes_has_the_time_of_its_packages(
    tmp_path: Path, as_root: list[str]
) -> None:
    """mke2fs takes no later time than that of `.updated`; nothing else differs."""
    seen = []
    for name, begin in (("a", 1_800_000_000), ("b", 1_810_000_000)):
        root = tree(tmp_path / name, begin)
        argv = [*as_root, "sh", str(STRIP), str(root)]
        run(argv, deadline=patient(30, "strip")).check()
        updated = (root / "etc/.updated").stat().st_mtime
        assert updated == PACKAGED
        clamped = {
            str(path.relative_to(root)): (
                min(path.stat().st_mtime, updated),
                min(path.stat().st_atime, updated),
                path.read_text() if path.is_file() else "",
            )
            for path in root.rglob("*")
        }
        seen.append(clamped)
    assert seen[0] == seen[1]
    assert f"root:!*:{PACKAGED // 86400}:" in seen[0]["etc/shadow"][2]
    assert "etc/shadow-" not in seen[0]
    assert "var/cache/ldconfig/aux-cache" not in seen[0]
    assert "etc/apt/apt.conf.d/99mmdebstrap" not in seen[0]


def test_the_hooks_fix_what_their_tools_would_choose() -> None:
    """UUIDs, hash seeds, times and inode numbers."""
    hooks = REFERENCE / "cloud/hooks"
    disk, initrd = (hooks / "disk").read_text(), (hooks / "initrd").read_text()
    assert "export SOURCE_DATE_EPOCH" in disk
    assert '-U "$2"' in disk
    assert "hash_seed=$2" in disk
    assert "cpio --quiet --reproducible" in initrd
    assert "touch -h -d @0" in initrd


def test_a_build_takes_nothing_from_the_environment_that_changes_bytes() -> None:
    """Python writes other caches, mke2fs other times, where these are set."""
    given = {
        "SOURCE_DATE_EPOCH": "1",
        "PYTHONHASHSEED": "1",
        "MKE2FS_CONFIG": "x",
        "TZ": "Asia/Tokyo",
        "PATH": "/bin",
        "http_proxy": "http://proxy.example",
    }
    kept = {"PATH": "/bin", "http_proxy": "http://proxy.example"}
    assert calm(given) == kept
