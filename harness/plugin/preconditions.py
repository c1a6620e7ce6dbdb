"""What holds for every test of a run, examined once, before the first is collected."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness import files, host
from harness.errors import HostError, InputError, Mistake, near

if TYPE_CHECKING:
    from harness.fleet import Fleet
    from harness.plugin.options import Settings

REFERENCE = "reference"


def examine(settings: Settings, fleet: Fleet) -> None:
    """Raise InputError with what would break every test."""
    mistakes = [
        *_guest(settings),
        *_adopted(settings, fleet),
        *_place(settings.reports, "--report-dir"),
    ]
    if mistakes:
        raise InputError("no test can run", mistakes)
    _cache()
    if settings.units:
        from harness.shell import read  # noqa: PLC0415 - heavy

        read(settings.units, settings.adopted)


def _guest(settings: Settings) -> list[Mistake]:
    if settings.guest == REFERENCE:
        return []
    allowed = f"{REFERENCE}: no other guest can be judged so far"
    return [Mistake("command line", "--guest", settings.guest, allowed)]


def _adopted(settings: Settings, fleet: Fleet) -> list[Mistake]:
    if not settings.units or settings.adopted in fleet.vms:
        return []
    name, known = settings.adopted, ", ".join(fleet.vms)
    allowed = f"one of: {known}{near(name, fleet.vms)}"
    return [Mistake("command line", "--adopt-vm", name, allowed)]


def _place(directory: Path, option: str) -> list[Mistake]:
    """Find why a directory cannot be made or written into; nothing is made."""
    try:
        place = next(p for p in (directory, *directory.parents) if os.path.lexists(p))
        if not place.resolve(strict=True).is_dir():
            allowed = f"a directory; {place} is something else"
        else:
            _try(place)
            return []
    except (OSError, RuntimeError) as error:
        allowed = f"a place that can be written ({files.reason(error)})"
    return [Mistake("command line", option, str(directory), allowed)]


def _cache() -> None:
    """Make sure that images and stages can be kept. Raises HostError."""
    try:
        _try(host.cache_dir())
    except OSError as error:
        raise HostError(
            f"the cache cannot be written: {error.filename}: {files.reason(error)}",
            hint="make it writable, or set HARNESS_CACHE to another directory",
        ) from error


def _try(directory: Path) -> None:
    """Make and remove something there: root may everything, but not on every disk."""
    Path(tempfile.mkdtemp(prefix=".harness-try-", dir=directory)).rmdir()
