"""`harness clean`: remove what is cached, and say what stays and why."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.inputs import demand_one
from harness.cli.say import out, size_text
from harness.errors import InputError, Mistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.image.users import CacheUser


@dataclass(frozen=True, slots=True)
class Item:
    """A directory of the cache; `stays` says why it is kept, empty if it is removed."""

    what: str
    path: Path
    bytes: int
    remove: Callable[[], None]
    stays: str = ""


def clean(
    *,
    stages: Annotated[bool, typer.Option("--stages", help="only stages")] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="only what is damaged (reads everything)")
    ] = False,
    old: Annotated[
        bool, typer.Option("--old", help="only what no run of this version uses")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", "--yes", help="also while another run uses the cache"),
    ] = False,
) -> None:
    """Remove cached stages and images; a run builds them again."""
    from harness import host  # noqa: PLC0415 - see the package
    from harness.image.users import cleaning, users_of  # noqa: PLC0415 - same

    demand_one({"--stages": stages, "--damaged": damaged, "--old": old})
    cache = host.cache_dir()
    with cleaning(cache):
        users = users_of(cache)
        if users and not force:
            _ask(users, cache)
        if damaged:
            items = _of_damaged()
        elif old:
            items = outdated()
        else:
            items = [_staying(e) if stages else e for e in _images()] + _stages()
        remove(items)


def remove(items: Iterable[Item]) -> None:
    """Remove items but those that a process has open; print each, and the sum."""
    from harness import host  # noqa: PLC0415 - see the package
    from harness.image.users import users_of  # noqa: PLC0415 - same

    users = users_of(host.cache_dir())
    gone, freed = 0, 0
    for item in (_kept_if_used(item, users) for item in items):
        size = size_text(item.bytes)
        if item.stays:
            out.print(f"kept     {item.what}, {size}: {item.stays}", markup=False)
            continue
        item.remove()
        gone, freed = gone + 1, freed + item.bytes
        out.print(f"removed  {item.what}, {size}", markup=False)
    debs = host.cache_dir() / "debs"
    if debs.is_dir():
        size = size_text(sum(path.lstat().st_size for path in debs.glob("*.deb")))
        why = "the next build of an image uses them"
        out.print(f"kept     downloaded packages, {size}: {why}")
    out.print(f"Removed {gone} cached states, {size_text(freed)}.")


def outdated() -> list[Item]:
    """List everything: what this version of the harness uses stays."""
    from harness import host, reference, stage  # noqa: PLC0415 - see the package

    current = {e.image.digest for e in reference.images() if e.current}
    stays = "this version uses it"
    built = {
        each.path
        for each in stage.cached()
        if each.image in current
        and each.code == stage.code_digest()
        and each.qemu == host.qemu_version()
    }
    images = [
        replace(e, stays=stays) if e.path.name in current else e for e in _images()
    ]
    return images + [
        replace(e, stays=stays) if e.path in built else e for e in _stages()
    ]


def _of_damaged() -> list[Item]:
    """List what is damaged, and the stages that are based on it."""
    from harness import reference, stage  # noqa: PLC0415 - see the package
    from harness.image.checksums import verified  # noqa: PLC0415 - same
    from harness.stage.entry import whole  # noqa: PLC0415 - same

    bad = {each.name for each in (*reference.damaged(), *stage.damaged())}
    for each in reference.images():
        if verified(each.image.directory, each.image.manifest["files"]):
            bad.add(each.image.digest)
    built = stage.cached()
    bad |= {e.path.name for e in built if verified(e.path, e.files)}
    while more := {
        e.path.name
        for e in built
        if e.path.name not in bad and (e.base.name in bad or not whole(e.path))
    }:
        bad |= more
    items = _images() + _stages()
    return [e if e.path.name in bad else replace(e, stays="undamaged") for e in items]


def _images() -> list[Item]:
    from harness import reference, stage  # noqa: PLC0415 - see the package

    places = [e.image.directory for e in reference.images()] + reference.damaged()
    return [
        Item(
            f"image {place.name[:16]}",
            place,
            stage.occupied(place),
            partial(reference.remove, place.name),
        )
        for place in places
    ]


def _stages() -> list[Item]:
    from harness import stage  # noqa: PLC0415 - see the package

    return [
        Item(
            f"stage {place.name}",
            place,
            stage.occupied(place),
            partial(stage.remove, place),
        )
        for place in stage.places()
    ]


def _staying(item: Item) -> Item:
    return replace(item, stays="--stages removes only stages")


def _kept_if_used(item: Item, users: Sequence[CacheUser]) -> Item:
    """Keep what a process has open, and what a build is filling."""
    lock = item.path.with_name(f"{item.path.name}.lock")
    for user in users:
        if any(f == lock or f.is_relative_to(item.path.resolve()) for f in user.files):
            return replace(item, stays=f"{user} uses it")
    return item


def _ask(users: Sequence[CacheUser], cache: Path) -> None:
    """Ask on a terminal whether to go on; refuse elsewhere. Raises InputError."""
    names = ", ".join(str(user) for user in users)
    if sys.stdin.isatty() and sys.stdout.isatty():
        text = f"{names}: using the cache. Remove what no running machine needs?"
        if typer.confirm(text):
            return
    mistakes = [Mistake(str(user), "", "", f"uses {cache}") for user in users]
    raise InputError(
        "another process uses the cache; nothing was removed",
        mistakes,
        hint="wait for it, or give --force: what a running machine uses stays",
    )
