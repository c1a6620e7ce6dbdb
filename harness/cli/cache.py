"""`harness images`: list the cache, check it, renew it, and carry images about."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.clean import outdated
from harness.cli.clean import remove as remove_entries
from harness.cli.inputs import demand_one
from harness.cli.say import age_text, live, out, show, size_text, table
from harness.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from harness.image import Image, Shelved
    from harness.image.checksums import Damage
    from harness.stage import Cached

_UNUSED = "damaged or of another format: not used, `harness clean` removes it"
_READERS = 4  # files are read at once; one core hashes what a disk delivers


def images(
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="read everything; 1 if damaged")
    ] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="build from today's packages")
    ] = False,
    key: Annotated[
        bool, typer.Option("--key", help="print the cache's key for CI")
    ] = False,
    path: Annotated[
        bool, typer.Option("--path", help="print the cache's directory")
    ] = False,
    import_: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE", help="take in an exported image"),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", help="write the image (.tar, .tar.gz, .tar.xz)"
        ),
    ] = None,
) -> None:
    """List cached images and stages with their size and age."""
    from harness import host, reference, stage  # noqa: PLC0415 - see the package

    asked = {
        "--verify": verify,
        "--refresh": refresh,
        "--key": key,
        "--path": path,
        "--import": import_ is not None,
        "--export": export is not None,
    }
    demand_one(asked)
    if path:
        out.print(str(host.cache_dir()), markup=False)
    elif key:
        parts = f"{reference.recipe_digest()} {stage.key()}"
        digest = hashlib.sha256(parts.encode()).hexdigest()[:16]
        out.print(f"vm-acceptance-{digest}", markup=False)
    elif verify:
        _verify()
    elif refresh:
        _refresh()
    elif import_ is not None:
        with live("starting") as progress:
            taken = reference.take_in(import_, progress)
        out.print(f"Image {taken.digest[:16]} is in {host.cache_dir()}.", markup=False)
    elif export is not None:
        with live("starting") as progress:
            written = reference.export(export, progress)
        size = size_text(export.stat().st_size)
        out.print(f"Image {written.digest[:16]} is in {export}, {size}.", markup=False)
    else:
        _list()


def _list() -> None:
    from harness import host, reference, stage  # noqa: PLC0415 - see the package

    lines = table("what", "machine", "digest", "size", "age", "built in", "note")
    for each in reference.images():
        lines.add_row(*_image_row(each))
    for cached in stage.cached():
        lines.add_row(*_stage_row(cached))
    for what, path in _unusable():
        size = size_text(stage.occupied(path))
        lines.add_row(what, "", path.name[:16], size, "", "", _UNUSED)
    if not lines.row_count:
        out.print("Nothing is cached yet.")
        return
    show(lines)
    out.print(f"\nIn {host.cache_dir()}; `harness clean` removes it.", markup=False)


def _verify() -> None:
    """Read every file of every entry; exit status 1 when one is damaged."""
    entries = list(_entries())
    with live("reading the cache") as progress:

        def read(entry: tuple[str, Path, Mapping[str, Any]]) -> list[Damage]:
            from harness.image import checksums  # noqa: PLC0415 - see the package

            name, directory, sums = entry
            progress.step(f"reading {name}")
            return checksums.verified(directory, sums)

        with ThreadPoolExecutor(_READERS) as pool:
            damages_of = list(pool.map(read, entries))
    bad = 0
    for (name, *_), damages in zip(entries, damages_of, strict=True):
        bad += bool(damages)
        for damage in damages:
            out.print(f"{name} is damaged: {damage}", markup=False)
    for what, path in _unusable():
        bad += 1
        out.print(f"{what} {path.name}: {_UNUSED}", markup=False)
    if bad:
        out.print(
            f"{bad} of {len(entries)} entries cannot be used. `harness clean --damaged`"
            " removes them; what is missing is built again.",
            markup=False,
        )
        raise typer.Exit(Exit.FAIL)
    out.print(f"All {len(entries)} entries are as they were stored.")


def _entries() -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    from harness import reference, stage  # noqa: PLC0415 - see the package

    for shelved in reference.images():
        image = shelved.image
        name = f"image {image.digest[:16]}"
        yield name, image.directory, image.manifest["files"]
    for cached in stage.cached():
        name = f"stage {cached.stage} of {cached.vm} {cached.digest}"
        yield name, cached.path, cached.files


def _refresh() -> None:
    """Build the image again; remove what it replaces where nothing uses that."""
    from harness import host, reference  # noqa: PLC0415 - see the package
    from harness.image.users import users_of  # noqa: PLC0415 - same

    before = reference.images()
    old = next((each.image for each in before if each.current), None)
    with live("starting") as progress:
        new = reference.refresh(progress)
    if new.digest in {each.image.digest for each in before}:
        out.print(f"Image {new.digest[:16]} has all packages of today; it stays.")
        return
    for line in _changed(old, new):
        out.print(line, markup=False)
    out.print(f"Image {new.digest[:16]} is used from now on.", markup=False)
    if users := users_of(host.cache_dir()):
        names = ", ".join(str(user) for user in users)
        out.print(
            f"{names}: using the cache, so the old image stays; `harness clean --old`"
            " removes it later.",
            markup=False,
        )
        return
    remove_entries(outdated())


def _changed(old: Image | None, new: Image) -> Iterator[str]:
    """Yield each package that has another version now."""
    was = (
        {row[0]: row[1] for row in old.manifest["resolved"]["packages"]} if old else {}
    )
    now = {row[0]: row[1] for row in new.manifest["resolved"]["packages"]}
    for name in sorted(was.keys() | now.keys()) if was else ():
        if was.get(name) != now.get(name):
            yield f"{name}: {was.get(name, 'none')} -> {now.get(name, 'none')}"


def _unusable() -> Iterator[tuple[str, Path]]:
    from harness import reference, stage  # noqa: PLC0415 - see the package

    yield from (("image", path) for path in reference.damaged())
    yield from (("stage", path) for path in stage.damaged())


def _image_row(each: Shelved) -> tuple[str, ...]:
    age = age_text(time.time() - each.built.timestamp())
    note = "" if each.current else "of an older recipe, or replaced"
    return ("image", "", each.image.digest[:16], size_text(each.bytes), age, "", note)


def _stage_row(cached: Cached) -> tuple[str, ...]:
    return (
        f"stage {cached.stage}",
        cached.vm,
        cached.digest[:16],
        size_text(cached.bytes),
        age_text(time.time() - cached.built),
        f"{cached.build_s:.0f} s",
        f"{cached.retries} retry after a panic" if cached.retries else "",
    )
