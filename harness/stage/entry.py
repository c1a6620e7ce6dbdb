"""One saved stage in the cache: what its manifest says, and whether it is still so.

    <cache>/stages/<stage>-<vm>-<digest>/   disk.qcow2, ram, state, …, stage.json

No name in it is absolute, so a cache can be moved. `files` has a checksum of each file;
`base` names what the disk is based on, with the digest of that stage's own manifest:
a stage that was built again is not what its children were based on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import InputError
from harness.files import flush_tree, read_input, write_whole
from harness.image import checksums

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.image import Image
    from harness.image.checksums import Damage

MANIFEST = "stage.json"
FORMAT = 2
"""Of all that is cached for stages; 1 named backing files by absolute paths."""
DISK = "disk.qcow2"
_UNSUMMED = frozenset({MANIFEST, checksums.CHECKED})


@dataclass(frozen=True, slots=True)
class BelowDisk:
    """What a stage's disk is based on: a directory beside it, or an image's digest.

    `seal` is the digest of that stage's manifest, empty for an image.
    """

    name: str
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Cached:
    """One built stage on disk, as its manifest says.

    `built` is seconds since 1970, `retries` counts panics of the emulated kernel.
    `image`, `code` and `qemu` are those that it was built with.
    """

    path: Path
    stage: str
    vm: str
    digest: str
    built: float
    build_s: float
    retries: int
    base: BelowDisk
    image: str
    code: str
    qemu: str
    files: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, home: Path) -> Cached | None:
        """Read a stage's manifest; None where there is none, or none of this format."""
        try:
            facts = json.loads(read_input(home / MANIFEST))
            if facts["format"] != FORMAT:
                return None
            return cls(
                home,
                stage=str(facts["stage"]),
                vm=str(facts["vm"]),
                digest=str(facts["digest"]),
                built=float(facts["built"]),
                build_s=float(facts["build_s"]),
                retries=int(facts["retries"]),
                base=BelowDisk(str(facts["base"]["name"]), str(facts["base"]["seal"])),
                image=str(facts["image"]),
                code=str(facts["code"]),
                qemu=str(facts["qemu"]),
                files={name: dict(each) for name, each in facts["files"].items()},
            )
        except (
            InputError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ):
            return None

    @property
    def bytes(self) -> int:
        """What it occupies, in blocks."""
        return occupied(self.path)


def write(home: Path, facts: Mapping[str, Any]) -> None:
    """Complete a stage: checksums of all its files, then its manifest, durably."""
    flush_tree(home)
    names = {path.name for path in home.iterdir()} - _UNSUMMED
    sums = checksums.sums_of(home, names)
    checksums.note(home, sums)
    whole = {"format": FORMAT, **facts, "files": sums}
    write_whole(home / MANIFEST, json.dumps(whole, indent=1) + "\n")


def seal(home: Path) -> str:
    """Return the digest of a stage's manifest; another build of it has another one."""
    try:
        return hashlib.sha256(read_input(home / MANIFEST)).hexdigest()
    except InputError:
        return ""


def occupied(directory: Path) -> int:
    """Count the bytes that a directory's files occupy, in blocks."""
    return sum(path.lstat().st_blocks * 512 for path in directory.rglob("*"))


def based_on(home: Path) -> list[Cached]:
    """Return a stage and those that its disk is based on, the nearest first.

    The list ends before one that is missing, or was built again since.
    """
    found: list[Cached] = []
    name, expected = home.name, ""
    while (entry := Cached.read(home.with_name(name))) is not None:
        if expected and seal(entry.path) != expected:
            break
        found.append(entry)
        name, expected = entry.base.name, entry.base.seal
        if not expected:
            break
    return found


def whole(home: Path) -> bool:
    """Return whether a stage, and all that its disk is based on, are still there."""
    chain = based_on(home)
    return bool(chain) and not chain[-1].base.seal


def damage(home: Path, image: Image, *, fresh: bool = False) -> dict[str, list[Damage]]:
    """Return what is damaged of all that a copy of a saved stage is made from.

    By entry: the stage itself, the disks below it, the image. See `checksums.trusted`.
    """
    found = {f"image {image.digest[:16]}": image.damage(fresh=fresh)}
    for number, entry in enumerate(based_on(home)):
        sums = entry.files if not number else _only_disk(entry.files)
        name = f"stage {entry.stage} of {entry.vm}"
        found[name] = checksums.trusted(entry.path, sums, fresh=fresh)
    return {name: damages for name, damages in found.items() if damages}


def demand_whole(home: Path, image: Image, *, fresh: bool = False) -> None:
    """Raise HarnessError when anything that a saved stage needs is damaged."""
    for name, damages in damage(home, image, fresh=fresh).items():
        checksums.demand(damages, name)


def _only_disk(files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {DISK: files[DISK]} if DISK in files else {}
