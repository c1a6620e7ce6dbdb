"""The shelf of finished images in the cache: found by recipe, named by content.

    <cache>/images/<digest>/    image.qcow2, vmlinuz, manifest.json, build.log
    <cache>/images/recipe-<recipe's digest>    names the image it was last built into
    <cache>/debs/               downloaded packages

An image's digest covers its recipe, its packages' versions and its bytes, so a stage
that is cached on top of it never meets another image under the same name.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from harness.errors import HarnessError, InputError
from harness.files import flush, flush_tree, read_input, write_whole
from harness.image import checksums

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.image.checksums import Damage

MANIFEST = "manifest.json"
SCHEMA = 2
"""Of the manifest; 1 had no checksums of files."""
DISK, KERNEL = "image.qcow2", "vmlinuz"
FILES = (DISK, KERNEL)
"""What a manifest has checksums of, and an exported image consists of."""
DRAFT = ".new-"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Progress(Protocol):
    """Takes the lines that report what is being done."""

    def step(self, text: str) -> None:
        """Say what begins now."""


@dataclass(frozen=True, slots=True)
class Image:
    """A bootable base image: read-only, the backing file of every machine's disk.

    `path` is a qcow2, `kernel` the bzImage inside it, `manifest` what it was made from.
    """

    path: Path
    digest: str
    kernel: Path
    manifest: dict[str, Any] = field(repr=False)

    @property
    def directory(self) -> Path:
        """Where it lies with everything that belongs to it."""
        return self.path.parent

    def damage(self, *, fresh: bool = False) -> list[Damage]:
        """Return what is not as it was stored (`checksums.trusted`)."""
        return checksums.trusted(self.directory, self.manifest["files"], fresh=fresh)


@dataclass(frozen=True, slots=True)
class Shelved:
    """An image as `harness images` lists it; `current` if the recipe leads to it."""

    image: Image
    built: datetime
    bytes: int
    current: bool


@dataclass(frozen=True, slots=True)
class Shelf:
    """The images below one cache directory."""

    cache: Path

    @property
    def directory(self) -> Path:
        """Where the images lie."""
        return self.cache / "images"

    @property
    def debs(self) -> Path:
        """Where downloaded packages are kept from one build to the next."""
        return self.cache / "debs"

    @property
    def lock(self) -> Path:
        """The lock file of every process that builds or removes an image."""
        return self.directory / ".lock"

    def find(self, recipe: str) -> Image | None:
        """Return the image that a recipe (its digest) was last built into."""
        digest = _pinned(self._pin(recipe))
        return self.load(digest) if digest else None

    def pin(self, recipe: str, image: Image) -> None:
        """Remember that a recipe leads to `image`."""
        write_whole(self._pin(recipe), f"{image.digest}\n")

    def load(self, digest: str) -> Image | None:
        """Return the image of this digest, None unless it is complete."""
        directory = self.directory / digest
        try:
            manifest = json.loads(read_input(directory / MANIFEST))
            if not describes_itself(manifest) or manifest["digest"] != digest:
                return None
        except (InputError, ValueError, KeyError, TypeError, RecursionError):
            return None
        image = Image(directory / DISK, digest, directory / KERNEL, manifest)
        return image if image.path.exists() and image.kernel.exists() else None

    def put(self, made: Path, manifest: Mapping[str, Any]) -> Image:
        """Shelve a directory of the same file system under its manifest's digest.

        An image that is there already stays: machines may run from it.
        """
        known = self.load(manifest["digest"])
        if known is not None and not known.damage():
            return known
        text = json.dumps(manifest, indent=1, sort_keys=True)
        flush_tree(made)
        write_whole(made / MANIFEST, f"{text}\n")
        target = self.directory / manifest["digest"]
        if target.exists():  # incomplete or damaged
            shutil.rmtree(target)
        made.rename(target)
        flush(self.directory)
        image = self.load(manifest["digest"])
        if image is None:
            raise HarnessError(f"{target} disappeared while it was being put there")
        checksums.note(target, manifest["files"])
        return image

    def images(self, recipe: str) -> Iterator[Shelved]:
        """Yield every complete image, oldest first; `recipe` leads to one of them."""
        current = self.find(recipe)
        found = [self.load(path.name) for path in self._places()]
        shelved = [
            Shelved(image, _built(image), _size(image.directory), image == current)
            for image in found
            if image is not None
        ]
        yield from sorted(shelved, key=lambda each: each.built)

    def sweep(self) -> list[Path]:
        """Remove and list what killed builds left; the caller holds `lock`."""
        left = sorted(self.directory.glob(f"{DRAFT}*"))
        for path in left:
            shutil.rmtree(path)
        return left

    def damaged(self) -> list[Path]:
        """List the directories of images that `load` refuses: none is ever used."""
        return sorted(path for path in self._places() if self.load(path.name) is None)

    def remove(self, digest: str) -> None:
        """Remove an image, whole or not; machines based on it lose their disk."""
        shutil.rmtree(self.directory / digest)
        for pin in self.directory.glob("recipe-*"):
            if _pinned(pin) == digest:
                pin.unlink()

    def _places(self) -> Iterator[Path]:
        found = self.directory.glob("[0-9a-f]*")
        return (path for path in found if _DIGEST.fullmatch(path.name))

    def _pin(self, recipe: str) -> Path:
        return self.directory / f"recipe-{recipe}"


def digest_of(
    recipe: str, resolved: Mapping[str, Any], content: str, kernel: str
) -> str:
    """Return the digest that names an image.

    `content` digests what its disk holds, not the file that holds it: another version
    of qemu-img may write the same disk in another way.
    """
    parts = {
        "recipe": recipe,
        "resolved": resolved,
        "content": content,
        "kernel": kernel,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def describes_itself(manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest is of this schema, and its digest is that of its facts.

    Raises what a manifest of another form raises: KeyError, TypeError, ValueError.
    """
    if manifest["schema"] != SCHEMA or set(manifest["files"]) != set(FILES):
        return False
    _built_at(manifest)
    kernel = manifest["files"][KERNEL]["sha256"]
    said = (manifest["recipe"], manifest["resolved"], manifest["content"], kernel)
    return bool(manifest["digest"] == digest_of(*said))


def _pinned(pin: Path) -> str:
    """Return the digest that a pin names; empty where it names none."""
    try:
        digest = read_input(pin).decode(errors="replace").strip()
    except InputError:
        return ""
    return digest if _DIGEST.fullmatch(digest) else ""


def _built(image: Image) -> datetime:
    return _built_at(image.manifest)


def _built_at(manifest: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(manifest["built"]).astimezone(UTC)


def _size(directory: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in directory.iterdir())
