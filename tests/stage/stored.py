"""Images and stages of a few bytes, stored by the real functions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.image import checksums
from harness.image.shelf import DISK, FILES, KERNEL, SCHEMA, Image, Shelf, digest_of
from harness.process import run
from harness.qemu import disk
from harness.stage import entry
from harness.stage.entry import BelowDisk
from tests.waiting import patient

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = "1" * 64
BUILT = "2026-01-01T00:00:00+00:00"


def put_image(
    shelf: Shelf, content: str = "a", built: str = BUILT, recipe: str = RECIPE
) -> Image:
    """Shelve an image whose disk is an empty qcow2 of 1 MiB."""
    made = shelf.directory / "made"
    made.mkdir(parents=True)
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", str(made / DISK), "1M"]
    run(argv, deadline=patient(20, "a disk")).check()
    (made / KERNEL).write_bytes(b"kernel")
    sums = checksums.sums_of(made, FILES)
    resolved: dict[str, Any] = {"packages": [], "pool": []}
    parts = (recipe, resolved, content, sums[KERNEL]["sha256"])
    manifest = {
        "schema": SCHEMA,
        "digest": digest_of(*parts),
        "recipe": recipe,
        "resolved": resolved,
        "content": content,
        "files": sums,
        "built": built,
    }
    return shelf.put(made, manifest)


def put_stage(home: Path, stage: str, below: Path | None, image: Image) -> Path:
    """Store a stage of dev on `below`, or on the image, as a build does."""
    place = home / f"{stage}-dev-{'0' * 16}"
    place.mkdir(mode=0o700, parents=True)
    parent = image.path if below is None else below / entry.DISK
    deadline = patient(20, "a disk")
    disk.overlay(place / entry.DISK, parent, deadline, relative=True)
    (place / "ram").write_bytes(b"ram of " + stage.encode())
    base = (
        BelowDisk(image.digest)
        if below is None
        else BelowDisk(below.name, entry.seal(below))
    )
    complete(place, stage, base, image.digest)
    return place


def complete(
    place: Path, stage: str, base: BelowDisk, image: str, retries: int = 0
) -> None:
    """Write the manifest of a stage whose files are there."""
    facts = {
        "stage": stage,
        "vm": "dev",
        "digest": "d",
        "built": 1.0,
        "build_s": 2.0,
        "retries": retries,
        "base": asdict(base),
        "image": image,
        "code": "c",
        "qemu": "7.2",
    }
    entry.write(place, facts)
