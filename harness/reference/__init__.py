"""The reference guest: the recipe of its image, and the build.

`image` is all that most callers use. `README.md` in this directory describes the parts,
`docs/explanation/images.md` the build, `docs/explanation/reference-guest.md` the
guest.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness import host
from harness.host import Finding, cache_dir
from harness.image import Image, Progress, Shelf, Shelved, parcel
from harness.image.checksums import demand
from harness.reference.ability import ability
from harness.reference.builder import build, shelving
from harness.reference.recipe import ImageRecipe

if TYPE_CHECKING:
    from pathlib import Path


def image(progress: Progress, cache: Path | None = None) -> Image:
    """Return the reference image, built if its recipe was never built here.

    A cached one is found by the recipe alone: no network, no package index. `cache` is
    the directory to keep it in, by default the harness's own. Raises HostError,
    ProcessFailed, DeadlineExpired, HarnessError where the cached one is damaged.
    """
    shelf, recipe = Shelf(cache or cache_dir()), ImageRecipe()
    found = shelf.find(recipe.digest) or build(recipe, shelf, progress, again=False)
    demand(found.damage(), f"image {found.digest[:16]}")
    return found


def refresh(progress: Progress, cache: Path | None = None) -> Image:
    """Build the reference image from the packages that the mirror has today.

    When no package has changed, the cached image remains in use. Raises as `image`.
    """
    return build(ImageRecipe(), Shelf(cache or cache_dir()), progress, again=True)


def images(cache: Path | None = None) -> list[Shelved]:
    """Return all cached images, oldest first."""
    return list(Shelf(cache or cache_dir()).images(ImageRecipe().digest))


def present(cache: Path | None = None) -> bool:
    """Whether the image of today's recipe is in the cache, so that none is built."""
    return Shelf(cache or cache_dir()).find(ImageRecipe().digest) is not None


def lacking() -> list[Finding]:
    """List what is missing on this computer and needed by a run from here on."""
    building = not present()
    found = host.lacking(building=building)
    if building and not found:
        found = [each for each in ability(os.environ) if not each.ok]
    return found


def examine() -> list[Finding]:
    """List what this computer has and lacks for a run from here on."""
    building = not present()
    return [
        *host.examine(building=building),
        *(ability(os.environ) if building else ()),
    ]


def damaged(cache: Path | None = None) -> list[Path]:
    """List the remains of images in the cache that cannot be used."""
    return Shelf(cache or cache_dir()).damaged()


def remove(digest: str, cache: Path | None = None) -> None:
    """Remove a cached image; machines based on it lose their disk."""
    Shelf(cache or cache_dir()).remove(digest)


def export(file: Path, progress: Progress, cache: Path | None = None) -> Image:
    """Write the reference image, built if need be, to one file. Raises as `image`."""
    found = image(progress, cache)
    progress.step(f"writing {file}")
    parcel.export(found, file)
    return found


def take_in(file: Path, progress: Progress, cache: Path | None = None) -> Image:
    """Take an exported image into the cache, as if it had been built here.

    Raises InputError when the file is not an undamaged image of this recipe.
    """
    shelf, recipe = Shelf(cache or cache_dir()), ImageRecipe().digest
    with shelving(shelf, progress) as made:
        progress.step(f"unpacking and checking {file}")
        manifest = parcel.unpack(file, made, recipe)
        found = shelf.put(made, manifest)
        shelf.pin(recipe, found)
    return found


def recipe_digest() -> str:
    """Return the digest of what the reference image is made by, packages left out."""
    return ImageRecipe().digest


__all__ = [
    "damaged",
    "examine",
    "export",
    "image",
    "images",
    "lacking",
    "present",
    "recipe_digest",
    "refresh",
    "remove",
    "take_in",
]
