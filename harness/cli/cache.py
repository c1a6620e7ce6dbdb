"""`harness images` and `harness clean`: list the cache, and empty it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.say import age_text, out, show, size_text, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.image import Shelved
    from harness.stage import Cached

_DAMAGED = "damaged: not used, `harness clean` removes it"


def images() -> None:
    """List cached images and stages with their size and age."""
    from harness import host, reference, stage  # noqa: PLC0415 - see the package

    shelved, built = reference.images(), stage.cached()
    lines = table("what", "machine", "digest", "size", "age", "built in", "note")
    for each in shelved:
        lines.add_row(*_image_row(each))
    for cached in built:
        lines.add_row(*_stage_row(cached))
    for what, path in _damaged():
        size = size_text(stage.occupied(path))
        lines.add_row(what, "", path.name[:16], size, "", "", _DAMAGED)
    if not lines.row_count:
        out.print("Nothing is cached yet.")
        return
    show(lines)
    out.print(f"\nIn {host.cache_dir()}; `harness clean` removes it.")


def clean(
    *,
    stages: Annotated[bool, typer.Option("--stages", help="only stages")] = False,
) -> None:
    """Remove cached stages and images; a run builds them again."""
    from harness import reference, stage  # noqa: PLC0415 - see the package

    freed = sum(cached.bytes for cached in stage.cached())
    freed += sum(stage.occupied(path) for path in stage.damaged())
    gone = len(stage.clean())
    for each in () if stages else reference.images():
        reference.remove(each.image.digest)
        freed, gone = freed + each.bytes, gone + 1
    for path in () if stages else reference.damaged():
        freed, gone = freed + stage.occupied(path), gone + 1
        reference.remove(path.name)
    out.print(f"Removed {gone} cached states, {size_text(freed)}.")


def _damaged() -> Iterator[tuple[str, Path]]:
    from harness import reference, stage  # noqa: PLC0415 - see the package

    yield from (("image", path) for path in reference.damaged())
    yield from (("stage", path) for path in stage.damaged())


def _image_row(each: Shelved) -> tuple[str, ...]:
    age = age_text(time.time() - each.built.timestamp())
    note = "" if each.current else "of an older recipe"
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
