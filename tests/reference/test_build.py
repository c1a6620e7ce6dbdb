"""A whole build around a stand-in for mmdebstrap, and what a failed one leaves.

The stand-in is a real program that does what the recipe's hooks do to the disk; all
else, from the partition table to the lock, is the builder's own.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from harness.deadline import poll
from harness.errors import HostError, ProcessFailed
from harness.image.disk import PartitionTable
from harness.image.shelf import Shelf
from harness.process import kill, run, spawn
from harness.reference import builder
from harness.reference import mirror as mirrors
from harness.reference.builder import announcements, build
from harness.reference.mirror import OVERRIDE
from harness.reference.recipe import ImageRecipe
from tests.waiting import patient

ROOT = Path(__file__).parents[2]

STAND_IN = """#!/bin/sh
[ "$1" = --version ] && { echo "mmdebstrap 0.1"; exit 0; }
set -e
echo "I: running --customize-hook directly: noise"
echo "I: installing packages..."
make() {
  mke2fs -q -F -t ext4 -L "$1" -E "offset=$2" "/proc/self/fd/$DISK_FD" "${3}k"
}
make boot "$BOOT_OFFSET" "$BOOT_SIZE"
make root "$ROOT_OFFSET" "$ROOT_SIZE"
printf core >out/core.img
printf kernel >out/vmlinuz
{ head -c 510 /dev/zero; printf '\\125\\252'; } >out/boot.img
cp "$VERSIONS" out/packages.tsv
"""


class Said:
    """Collects progress."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, text: str) -> None:
        """Remember it."""
        self.lines.append(text)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in called mmdebstrap first in the path."""
    keys, versions = tmp_path / "keys.gpg", tmp_path / "versions"
    keys.touch()
    versions.write_text("a\t1\tall\n")
    monkeypatch.setattr(mirrors, "KEYRING", keys)
    monkeypatch.setattr(builder, "_NEEDED_BYTES", 1 << 20)
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/sbin:/sbin:/usr/bin:/bin")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("VERSIONS", str(versions))
    monkeypatch.setenv(OVERRIDE, "http://mirror.example/debian")
    path = tmp_path / "bin/mmdebstrap"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> ImageRecipe:
    """Make a recipe for a small disk."""
    root = tmp_path / "reference"
    (root / "cloud").mkdir(parents=True)
    (root / "cloud/packages.list").write_text("a\n")
    return ImageRecipe(root, PartitionTable(boot_mib=8, root_mib=16))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Make an empty shelf."""
    (tmp_path / "cache").mkdir(mode=0o700)
    return Shelf(tmp_path / "cache")


@pytest.mark.usefixtures("program")
def test_a_build_ends_on_the_shelf(
    recipe: ImageRecipe, shelf: Shelf, tmp_path: Path
) -> None:
    """Image, kernel and manifest are there, and nothing is left in between."""
    said = Said()
    image = build(recipe, shelf, said, again=False)
    info = run(["qemu-img", "info", str(image.path)], deadline=patient(9, "info"))
    assert "file format: qcow2" in info.stdout
    assert image.kernel.read_text() == "kernel"
    assert image.manifest["resolved"]["packages"] == [["a", "1", "all"]]
    assert image.manifest["file_systems"]["root"]["bytes"] == 16 << 20
    assert image.manifest["tools"]["mmdebstrap"] == "0.1"
    assert said.lines[:2] == ["asking apt for a Debian mirror", "installing packages"]
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in shelf.directory.glob(".new-*")] == []


def test_a_built_image_is_found_without_building(
    recipe: ImageRecipe, shelf: Shelf, program: Path
) -> None:
    """The second call needs neither mirror nor mmdebstrap."""
    first = build(recipe, shelf, Said(), again=False)
    program.write_text("#!/bin/sh\nexit 1\n")
    assert shelf.find(recipe.digest) == first
    assert build(recipe, shelf, Said(), again=False) == first


@pytest.mark.usefixtures("program")
def test_a_refresh_keeps_the_image_unless_a_package_changed(
    recipe: ImageRecipe, shelf: Shelf, tmp_path: Path
) -> None:
    """Cached stages are based on an image; only a new version replaces it."""
    first = build(recipe, shelf, Said(), again=False)
    assert build(recipe, shelf, Said(), again=True) == first
    (tmp_path / "versions").write_text("a\t2\tall\n")
    second = build(recipe, shelf, Said(), again=True)
    assert second.digest != first.digest
    assert shelf.find(recipe.digest) == second
    assert shelf.load(first.digest) == first


def test_a_failed_build_says_why_and_leaves_nothing(
    recipe: ImageRecipe, shelf: Shelf, program: Path, tmp_path: Path
) -> None:
    """The last lines are in the error, the whole log is kept."""
    program.write_text("#!/bin/sh\necho 'E: no space left on device'\nexit 25\n")
    with pytest.raises(ProcessFailed, match=r"status 25[\s\S]*no space left") as error:
        build(recipe, shelf, Said(), again=False)
    assert Path(error.value.hint.rpartition(" ")[2]).read_text().startswith("E: no")
    assert shelf.find(recipe.digest) is None
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.usefixtures("program")
def test_a_full_disk_is_noticed_before_the_download(
    recipe: ImageRecipe, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the place, and how to choose another."""
    monkeypatch.setattr(builder, "_NEEDED_BYTES", 1 << 60)
    with pytest.raises(HostError, match="TMPDIR"):
        build(recipe, shelf, Said(), again=False)


@pytest.mark.usefixtures("program")
def test_what_a_killed_build_left_is_swept_but_a_living_ones_stays(
    recipe: ImageRecipe, shelf: Shelf, tmp_path: Path
) -> None:
    """A living build holds the lock of its workshop."""
    dead, living = (tmp_path / f"tmp/vm-acceptance-image-{n}" for n in "ab")
    for directory in (dead, living):
        (directory / "out").mkdir(parents=True)
    with FileLock(living / "lock"):
        build(recipe, shelf, Said(), again=False)
        assert not dead.exists()
        assert living.exists()


KILLED = """
import sys
from pathlib import Path

from harness.image.disk import PartitionTable
from harness.image.shelf import Shelf
from harness.reference import builder
from harness.reference import mirror as mirrors
from harness.reference.recipe import ImageRecipe

keys, root, cache = map(Path, sys.argv[1:])
mirrors.KEYRING = keys
builder._NEEDED_BYTES = 1 << 20


class Quiet:
    def step(self, text):
        pass


recipe = ImageRecipe(root, PartitionTable(boot_mib=8, root_mib=16))
builder.build(recipe, Shelf(cache), Quiet(), again=False)
"""


def test_a_killed_build_does_not_keep_the_next_from_starting(
    recipe: ImageRecipe,
    shelf: Shelf,
    program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it left, workshop and draft, is removed before the room is counted."""
    filled = 1 << 20
    program.write_text(f"#!/bin/sh\nhead -c {filled} /dev/zero >out/fill\nsleep 60\n")
    argv = [sys.executable, "-c", KILLED, str(tmp_path / "keys.gpg")]
    argv += [str(recipe.root), str(shelf.cache)]
    with spawn(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}) as builds:

        def full() -> bool | None:
            left = (tmp_path / "tmp").glob("*/out/fill")
            return any(path.stat().st_size == filled for path in left) or None

        poll(full, patient(20, "a build that fills the disk"))
        kill(builds.pid)
    draft = shelf.directory / ".new-killed"
    draft.mkdir()
    (draft / "image.qcow2").write_bytes(bytes(filled))
    monkeypatch.setattr(builder, "_NEEDED_BYTES", 1 << 60)
    said = Said()
    with pytest.raises(HostError, match="too little room"):
        build(recipe, shelf, said, again=False)
    assert not draft.exists()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert sum("what a killed build left" in line for line in said.lines) == 2


@pytest.mark.usefixtures("program")
def test_a_second_build_waits_and_says_so(recipe: ImageRecipe, shelf: Shelf) -> None:
    """Parallel workers build one image between them."""
    shelf.directory.mkdir(parents=True)
    said = Said()
    with FileLock(shelf.lock):
        second = threading.Thread(
            target=build, args=(recipe, shelf, said), kwargs={"again": False}
        )
        second.start()
        second.join(0.3)
        assert second.is_alive()
    second.join(30)
    assert said.lines[0].startswith("another run is building")
    assert shelf.find(recipe.digest) is not None


def test_packages_no_build_wants_any_more_are_dropped(
    recipe: ImageRecipe, shelf: Shelf, program: Path
) -> None:
    """The cache of downloads does not grow without limit."""
    assert program.exists()
    shelf.debs.mkdir()
    for name in ("a_1_all.deb", "a_0_all.deb"):
        (shelf.debs / name).touch()
    build(recipe, shelf, Said(), again=False)
    assert [path.name for path in shelf.debs.iterdir()] == ["a_1_all.deb"]


def test_only_announcements_are_reported() -> None:
    """Not mmdebstrap's own ceremony, not the chatter of packages."""
    lines = ["Setting up a (1) ...\n", "I: extracting archives...\n", "W: hm\n"]
    noise = ["I: running special hook: sync-in\n", "I: using /x as tempdir\n"]
    assert list(announcements(lines + noise)) == ["extracting archives"]
