"""The shelf: images are found by recipe, named by content, and whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.image.shelf import Image, Shelf, digest_of

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = "1" * 64


def put(shelf: Shelf, digest: str, built: str = "2026-01-01T00:00:00+00:00") -> Image:
    """Shelve an image of a few bytes."""
    made = shelf.directory / "made"
    made.mkdir(parents=True)
    for name in ("image.qcow2", "vmlinuz"):
        (made / name).write_bytes(b"x")
    return shelf.put(made, {"digest": digest, "built": built})


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
    image = put(shelf, "a" * 64)
    shelf.pin(RECIPE, image)
    assert shelf.find(RECIPE) == image
    assert shelf.find("2" * 64) is None
    assert image.path.parent == image.directory == shelf.directory / image.digest


@pytest.mark.parametrize("lost", ["image.qcow2", "vmlinuz", "manifest.json"])
def test_an_incomplete_image_is_none(shelf: Shelf, lost: str) -> None:
    """It is built again, over the remains."""
    image = put(shelf, "a" * 64)
    shelf.pin(RECIPE, image)
    (image.directory / lost).unlink()
    assert shelf.find(RECIPE) is None
    assert put(shelf, "a" * 64) == image
    assert shelf.find(RECIPE) == image


@pytest.mark.parametrize(
    "foreign",
    [b"", b"{", b"null", b"[]", b"{}", b'{"built": 1}', b'{"built": "x"}', b"\xff\xfe"],
)
def test_a_damaged_manifest_is_no_image(shelf: Shelf, foreign: bytes) -> None:
    """It is listed as damaged, can be removed, and is built again."""
    image = put(shelf, "a" * 64)
    shelf.pin(RECIPE, image)
    (image.directory / "manifest.json").write_bytes(foreign)
    assert shelf.find(RECIPE) is None
    assert list(shelf.images(RECIPE)) == []
    assert shelf.damaged() == [image.directory]
    shelf.remove(image.digest)
    assert shelf.damaged() == []
    assert put(shelf, "a" * 64) == image


@pytest.mark.parametrize("foreign", [b"", b"..", b"\xff", b"a" * 63, b"A" * 64])
def test_a_pin_that_names_no_image_leads_nowhere(shelf: Shelf, foreign: bytes) -> None:
    """Nothing outside the shelf is read, and removing goes on."""
    image = put(shelf, "a" * 64)
    shelf.pin(RECIPE, image)
    (shelf.directory / f"recipe-{RECIPE}").write_bytes(foreign)
    assert shelf.find(RECIPE) is None
    assert [each.current for each in shelf.images(RECIPE)] == [False]
    shelf.remove(image.digest)


def test_images_are_listed_by_age_with_the_current_one_marked(shelf: Shelf) -> None:
    """As `harness images` shows them; work in progress is no image."""
    put(shelf, "b" * 64, "2026-02-01T00:00:00+00:00")
    old = put(shelf, "a" * 64, "2026-01-01T00:00:00+00:00")
    (shelf.directory / ".new-1").mkdir()
    shelf.pin(RECIPE, old)
    listed = list(shelf.images(RECIPE))
    assert [each.image.digest[0] for each in listed] == ["a", "b"]
    assert [each.current for each in listed] == [True, False]
    assert listed[0].bytes > 0


def test_a_removed_image_is_not_led_to(shelf: Shelf) -> None:
    """Another image's pin stays."""
    gone, stays = put(shelf, "a" * 64), put(shelf, "b" * 64)
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
        digest_of(RECIPE, first, "x"),
        digest_of("2" * 64, first, "x"),
        digest_of(RECIPE, second, "x"),
        digest_of(RECIPE, first, "y"),
    }
    assert len(digests) == 4
