"""Disks: qcow2 overlays that are whole or absent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.process import run

if TYPE_CHECKING:
    from harness.deadline import Deadline

GIB = 1 << 30


def overlay(
    path: Path,
    backing: Path,
    deadline: Deadline,
    *,
    size_g: int | None = None,
    relative: bool = False,
) -> None:
    """Create a copy-on-write disk on a qcow2 backing file, grown to `size_g` GiB.

    `relative` names that file as seen from the disk's directory, so that both can be
    moved together.

    An existing disk is never touched. An interrupted creation leaves a `.partial`
    behind, which the next one replaces. Raises HarnessError.
    """
    if path.exists():
        raise HarnessError(f"there is a disk already: {path}")
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"]
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    size = [] if size_g is None else [str(_grown(backing, size_g, deadline))]
    name = os.path.relpath(backing, path.parent) if relative else str(backing)
    run([*argv, "-b", name, str(partial), *size], deadline=deadline).check()
    partial.rename(path)


def virtual_size(path: Path, deadline: Deadline) -> int:
    """Return the size in bytes that a guest sees."""
    return int(_info(path, deadline)["virtual-size"])


def backing(path: Path, deadline: Deadline) -> list[Path]:
    """List the files that a disk is built on, the nearest first.

    One that cannot be found from here ends the list.
    """
    found: list[Path] = []
    while path.exists():
        facts = _info(path, deadline)
        name = facts.get("full-backing-filename") or facts.get("backing-filename")
        if name is None:
            break
        path = Path(name)
        found.append(path)
    return found


def copy(source: Path, target: Path, deadline: Deadline) -> None:
    """Copy a disk with the snapshots in it, to any directory; whole or not at all."""
    partial = target.with_name(target.name + ".partial")
    copy_sparse(source, partial, deadline)
    facts = _info(source, deadline)
    name = facts.get("backing-filename")
    if name is not None and source.parent.parent != target.parent.parent:
        name = str(facts["full-backing-filename"])
    if name is not None:
        argv = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2"]
        run([*argv, "-b", name, str(partial)], deadline=deadline).check()
    partial.rename(target)


def copy_sparse(source: Path, target: Path, deadline: Deadline) -> None:
    """Copy a file with its holes; by reference where the file system can."""
    argv = ["cp", "--sparse=always", "--reflink=auto", str(source), str(target)]
    run(argv, deadline=deadline).check()


def _info(path: Path, deadline: Deadline) -> dict[str, Any]:
    """Ask qemu-img about a disk that may be in use (qemu-img(1), info)."""
    argv = ["qemu-img", "info", "-U", "--output=json", str(path)]
    facts: dict[str, Any] = json.loads(run(argv, deadline=deadline).check().stdout)
    return facts


def _grown(backing: Path, size_g: int, deadline: Deadline) -> int:
    """Return the new size in bytes; a smaller one than the image's would cut it off."""
    have, want = virtual_size(backing, deadline), size_g * GIB
    if want < have:
        raise HarnessError(
            f"diskSizeG = {size_g} is smaller than the base image",
            seen=f"{backing}: {have / GIB:.1f} GiB",
            hint="raise diskSizeG, or [throwaway] diskSizeG",
        )
    return want
