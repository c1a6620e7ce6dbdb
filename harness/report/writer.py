"""Write all files of a report; the same results give the same bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.errors import HostError, Mistake
from harness.files import reason, write_whole
from harness.report import html, junit
from harness.report.model import RESULTS, dump

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.report.model import Results


LATEST = "latest"
"""The link to the report that was written last, next to it."""


def write(results: Results, directory: Path) -> None:
    """Write `results.json`, `junit.xml` and `index.html` into a report directory.

    Each is written beside its place and renamed; one that cannot be written does not
    keep the others from it. Raises HostError with all that could not, or what drawing
    the page raised.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lost = []
    # The machine-readable ones first: they must not wait for a drawing.
    files: tuple[tuple[str, Callable[[], str]], ...] = (
        (RESULTS, lambda: dump(results)),
        ("junit.xml", lambda: junit.render(results)),
        ("index.html", lambda: html.render(results, directory)),
    )
    for name, render in files:
        try:
            write_whole(directory / name, render())
        except OSError as error:
            lost.append(Mistake(str(directory / name), "", "", reason(error)))
    if lost:
        raise HostError(
            "the report is not complete: these files could not be written",
            lost,
            hint="free some room there, or choose another place by --report-dir",
        )


def point_latest(directory: Path) -> None:
    """Make `latest`, next to a report directory, point to it."""
    link = directory.parent / LATEST
    fresh = directory.parent / f".latest-{directory.name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(directory.name)
    os.replace(fresh, link)  # noqa: PTH105 - it must replace the old link at once
