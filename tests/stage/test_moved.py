"""A cache can be moved, and damage to it is found: real disks, real checksums."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.image import Image, Shelf
from harness.process import run
from harness.qemu import disk
from harness.stage import entry
from tests.stage.stored import RECIPE, complete, put_image, put_stage
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

STAGES = ("cloud", "nixos", "onboarded")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Store an image and three stages, each on the one before."""
    home = tmp_path / "cache"
    shelf = Shelf(home)
    image, below = put_image(shelf), None
    shelf.pin(RECIPE, image)
    for stage in STAGES:
        below = put_stage(home / "stages", stage, below, image)
    return home


def last(cache: Path) -> Path:
    """Return the last stage of the chain."""
    return cache / f"stages/onboarded-dev-{'0' * 16}"


def image_in(cache: Path) -> Image:
    """Return the image of a cache."""
    found = Shelf(cache).find(RECIPE)
    assert found is not None
    return found


def moved(cache: Path, to: Path) -> None:
    """Rename it."""
    cache.rename(to)


def copied(cache: Path, to: Path) -> None:
    """Copy it, without times, and remove the first one."""
    shutil.copytree(cache, to, copy_function=shutil.copyfile)
    shutil.rmtree(cache)


def archived(cache: Path, to: Path) -> None:
    """Pack it, remove it, and unpack it elsewhere, as CI does."""
    with tarfile.open(to.with_suffix(".tar"), "w") as tar:
        tar.add(cache, arcname=to.name)
    shutil.rmtree(cache)
    with tarfile.open(to.with_suffix(".tar")) as tar:
        tar.extractall(to.parent, filter="data")


@pytest.mark.parametrize("how", [moved, copied, archived])
def test_a_cache_works_at_another_place(
    cache: Path, tmp_path: Path, how: object
) -> None:
    """Every disk of the chain is found below the new place, and nothing is damaged."""
    assert callable(how)
    new = tmp_path / "elsewhere" / "cache"
    new.parent.mkdir()
    how(cache, new)
    assert not cache.exists()
    assert entry.whole(last(new))
    entry.demand_whole(last(new), image_in(new))
    own = tmp_path / "run" / "disk.qcow2"
    own.parent.mkdir()
    disk.overlay(own, last(new) / entry.DISK, patient(20, "an overlay"))
    chain = disk.backing(own, patient(20, "the chain"))
    assert len(chain) == len(STAGES) + 1
    assert all(path.resolve().is_relative_to(new) for path in chain)
    check = ["qemu-img", "check", "-q", str(own)]
    run(check, deadline=patient(20, "a check")).check()


def test_the_new_place_is_used_while_the_old_one_is_still_there(
    cache: Path, tmp_path: Path
) -> None:
    """A copy uses nothing of what it was copied from."""
    new = tmp_path / "copy"
    shutil.copytree(cache, new)
    chain = disk.backing(last(new) / entry.DISK, patient(20, "the chain"))
    assert [path.resolve().is_relative_to(new) for path in chain] == [True] * 3


def test_no_file_names_where_it_lies(cache: Path) -> None:
    """Neither manifests nor disks contain the path of the cache."""
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert os.fsencode(cache) not in path.read_bytes(), path


@pytest.mark.parametrize(
    "name",
    [
        "stages/onboarded-dev-{}/ram",
        "stages/onboarded-dev-{}/disk.qcow2",
        "stages/cloud-dev-{}/disk.qcow2",
    ],
)
def test_a_flipped_byte_is_found_at_the_next_use(cache: Path, name: str) -> None:
    """Of the stage itself, and of every disk below it."""
    path = cache / name.format("0" * 16)
    entry.demand_whole(last(cache), image_in(cache))
    flip(path)
    with pytest.raises(HarnessError, match="is damaged") as caught:
        entry.demand_whole(last(cache), image_in(cache))
    assert str(path) in str(caught.value)
    assert "sha256" in caught.value.seen
    assert "harness clean --damaged" in caught.value.hint


@pytest.mark.parametrize("name", ["image.qcow2", "vmlinuz"])
def test_a_flipped_byte_of_the_image_is_found(cache: Path, name: str) -> None:
    """All stages are based on it."""
    flip(image_in(cache).directory / name)
    with pytest.raises(HarnessError, match=f"image .* is damaged: .*{name}"):
        entry.demand_whole(last(cache), image_in(cache))


@pytest.mark.parametrize("lost", ["ram", "disk.qcow2"])
def test_a_lost_file_is_damage(cache: Path, lost: str) -> None:
    """As one of another size is."""
    (last(cache) / lost).unlink()
    with pytest.raises(HarnessError, match="is damaged") as caught:
        entry.demand_whole(last(cache), image_in(cache))
    assert caught.value.seen.startswith("nothing")
    (last(cache) / lost).write_bytes(b"short")
    with pytest.raises(HarnessError, match="is damaged") as caught:
        entry.demand_whole(last(cache), image_in(cache))
    assert "5 bytes" in caught.value.seen


def test_a_lost_file_is_found_in_a_copy_that_was_never_read(cache: Path) -> None:
    """Nothing is known of it, and nothing is there."""
    for note in cache.rglob(".checked"):
        note.unlink()
    (last(cache) / "ram").unlink()
    with pytest.raises(HarnessError, match="is damaged"):
        entry.demand_whole(last(cache), image_in(cache))


def test_what_was_read_in_the_future_is_read_again(cache: Path) -> None:
    """A clock that was wrong then proves nothing."""
    checked = last(cache) / ".checked"
    text = re.sub(r'"at": [0-9.]+', '"at": 9999999999.0', checked.read_text())
    checked.write_text(text)
    entry.demand_whole(last(cache), image_in(cache))
    assert "9999999999" not in checked.read_text()


def test_unchanged_files_are_not_read_again(cache: Path) -> None:
    """What was read stays trusted until a file is written, replaced or copied."""
    entry.demand_whole(last(cache), image_in(cache))
    ram = last(cache) / "ram"
    checked = last(cache) / ".checked"
    before = checked.stat().st_mtime_ns
    entry.demand_whole(last(cache), image_in(cache), fresh=True)
    assert checked.stat().st_mtime_ns == before
    os.utime(ram)
    entry.demand_whole(last(cache), image_in(cache))
    assert checked.stat().st_mtime_ns != before


def test_an_old_reading_is_not_enough_before_a_failure_is_believed(
    cache: Path,
) -> None:
    """Then all is read again, however unchanged it looks."""
    checked = last(cache) / ".checked"
    text = checked.read_text()
    checked.write_text(re.sub(r'"at": [0-9.]+', '"at": 1.0', text))
    before = checked.stat().st_mtime_ns
    entry.demand_whole(last(cache), image_in(cache))
    assert checked.stat().st_mtime_ns == before
    entry.demand_whole(last(cache), image_in(cache), fresh=True)
    assert checked.stat().st_mtime_ns != before


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", '{"ram": 1}', '{"ram": {}}', "\0"),
        '{"ram": {"at": "now"}, "disk.qcow2": {"at": null}}',
    ],
)
def test_a_damaged_note_of_what_was_read_is_no_proof(cache: Path, text: str) -> None:
    """Everything is read again."""
    (last(cache) / ".checked").write_text(text)
    entry.demand_whole(last(cache), image_in(cache))
    flip(last(cache) / "ram")
    with pytest.raises(HarnessError, match="is damaged"):
        entry.demand_whole(last(cache), image_in(cache))


def test_a_stage_whose_parent_was_built_again_is_not_used(cache: Path) -> None:
    """Its disk says what differs from a disk that is gone."""
    parent = cache / f"stages/nixos-dev-{'0' * 16}"
    assert entry.whole(last(cache))
    was = entry.Cached.read(parent)
    assert was is not None
    (parent / "ram").write_bytes(b"another boot")
    complete(parent, "nixos", was.base, was.image)
    assert entry.whole(parent)
    assert not entry.whole(last(cache))
    shutil.rmtree(parent)
    assert not entry.whole(last(cache))


def test_a_tree_is_summed_with_names_modes_and_links(tmp_path: Path) -> None:
    """A microvm's host is one: any change in it is found."""
    home = tmp_path / "host"
    (home / "store/a/bin").mkdir(parents=True)
    tool = home / "store/a/bin/tool"
    tool.write_text("tool")
    (home / "store/link").symlink_to("a")
    complete(home, "onboarded+microvm", entry.BelowDisk(""), "i")
    shelf = Shelf(tmp_path)
    image = put_image(shelf)
    entry.demand_whole(home, image)
    for change in (
        lambda: tool.chmod(0o700),
        lambda: flip(tool),
        lambda: tool.rename(tool.with_name("other")),
        (home / "store/link").unlink,
    ):
        change()
        with pytest.raises(HarnessError, match=r"is damaged: .*store"):
            entry.demand_whole(home, image, fresh=True)


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
