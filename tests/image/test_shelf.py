"""The shelf: images are found by recipe, named by content, and whole or not at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from harness.image.checksums import content_of
from harness.image.shelf import Shelf, digest_of
from tests.stage.stored import RECIPE
from tests.stage.stored import put_image as put

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Make an empty shelf."""
    return Shelf(tmp_path)


def test_an_empty_shelf_has_nothing(shelf: Shelf) -> None:
    """Not even its directory exists."""
    assert shelf.find(RECIPE) is None
    assert list(shelf.images(RECIPE)) == []


def test_a_recipe_leads_to_its_image(shelf: Shelf) -> None:
    """Without asking the network, or looking at the packages."""
    image = put(shelf, "a")
    shelf.pin(RECIPE, image)
    assert shelf.find(RECIPE) == image
    assert shelf.find("2" * 64) is None
    assert image.path.parent == image.directory == shelf.directory / image.digest


@pytest.mark.parametrize("lost", ["image.qcow2", "vmlinuz", "manifest.json"])
def test_an_incomplete_image_is_none(shelf: Shelf, lost: str) -> None:
    """It is built again, over the remains."""
    image = put(shelf, "a")
    shelf.pin(RECIPE, image)
    (image.directory / lost).unlink()
    assert shelf.find(RECIPE) is None
    assert put(shelf, "a") == image
    assert shelf.find(RECIPE) == image


@pytest.mark.parametrize(
    "foreign",
    [b"", b"{", b"null", b"[]", b"{}", b'{"built": 1}', b'{"built": "x"}', b"\xff\xfe"],
)
def test_a_damaged_manifest_is_no_image(shelf: Shelf, foreign: bytes) -> None:
    """It is listed as damaged, can be removed, and is built again."""
    image = put(shelf, "a")
    shelf.pin(RECIPE, image)
    (image.directory / "manifest.json").write_bytes(foreign)
    assert shelf.find(RECIPE) is None
    assert list(shelf.images(RECIPE)) == []
    assert shelf.damaged() == [image.directory]
    shelf.remove(image.digest)
    assert shelf.damaged() == []
    assert put(shelf, "a") == image


@pytest.mark.parametrize("foreign", [b"", b"..", b"\xff", b"a" * 63, b"A" * 64])
def test_a_pin_that_names_no_image_leads_nowhere(shelf: Shelf, foreign: bytes) -> None:
    """Nothing outside the shelf is read, and removing goes on."""
    image = put(shelf, "a")
    shelf.pin(RECIPE, image)
    (shelf.directory / f"recipe-{RECIPE}").write_bytes(foreign)
    assert shelf.find(RECIPE) is None
    assert [each.current for each in shelf.images(RECIPE)] == [False]
    shelf.remove(image.digest)


def test_images_are_listed_by_age_with_the_current_one_marked(shelf: Shelf) -> None:
    """As `harness images` shows them; work in progress is no image."""
    new = put(shelf, "b", "2026-02-01T00:00:00+00:00")
    old = put(shelf, "a", "2026-01-01T00:00:00+00:00")
    (shelf.directory / ".new-1").mkdir()
    shelf.pin(RECIPE, old)
    listed = list(shelf.images(RECIPE))
    assert [each.image for each in listed] == [old, new]
    assert [each.current for each in listed] == [True, False]
    assert listed[0].bytes > 0


def test_a_removed_image_is_not_led_to(shelf: Shelf) -> None:
    """Another image's pin stays."""
    gone, stays = put(shelf, "a"), put(shelf, "b")
    shelf.pin(RECIPE, gone)
    shelf.pin("2" * 64, stays)
    shelf.remove(gone.digest)
    assert shelf.find(RECIPE) is None
    assert shelf.find("2" * 64) == stays


def test_a_digest_covers_recipe_packages_and_bytes() -> None:
    """A stage based on an image must never meet another one under its name."""
    first: dict[str, Any] = {"packages": [["a", "1", "amd64"]]}
    second: dict[str, Any] = {"packages": [["a", "2", "amd64"]]}
    digests = {
        digest_of(RECIPE, first, "x", "k"),
        digest_of("2" * 64, first, "x", "k"),
        digest_of(RECIPE, second, "x", "k"),
        digest_of(RECIPE, first, "y", "k"),
        digest_of(RECIPE, first, "x", "l"),
    }
    assert len(digests) == 5


def test_an_image_that_is_there_stays_when_it_is_built_again(shelf: Shelf) -> None:
    """Machines may run from its files; a damaged one is replaced."""
    image = put(shelf, "a")
    inode = image.path.stat().st_ino
    assert put(shelf, "a") == image
    assert image.path.stat().st_ino == inode
    shutil.rmtree(shelf.directory / "made")
    image.kernel.write_bytes(b"xernel")
    assert put(shelf, "a") == image
    assert image.kernel.read_bytes() == b"kernel"


def test_an_image_of_another_name_or_format_is_none(shelf: Shelf) -> None:
    """Its manifest has to describe what its directory's name says."""
    image = put(shelf, "a")
    manifest = image.directory / "manifest.json"
    text = manifest.read_text()
    for old, new in (
        ('"schema": 2', '"schema": 1'),
        ('"content": "a"', '"content": "b"'),
    ):
        assert old in text
        manifest.write_text(text.replace(old, new))
        assert shelf.load(image.digest) is None
    manifest.write_text(text)
    other = image.directory.rename(image.directory.with_name("0" * 64))
    assert shelf.load(other.name) is None


def test_content_is_what_a_disk_reads_as(tmp_path: Path) -> None:
    """However sparse its file is; every byte and the size count."""
    sparse, full = tmp_path / "sparse", tmp_path / "full"
    with sparse.open("wb") as file:
        file.seek(3 << 20)
        file.write(b"data")
        file.truncate((5 << 20) + 7)
    full.write_bytes(sparse.read_bytes())
    assert content_of(sparse) == content_of(full)
    seen = {content_of(full)}
    for at in (0, (3 << 20) + 1, (5 << 20) + 6):
        changed = bytearray(sparse.read_bytes())
        changed[at] ^= 1
        full.write_bytes(changed)
        seen.add(content_of(full))
    full.write_bytes(sparse.read_bytes() + b"\0")
    seen.add(content_of(full))
    assert len(seen) == 5
