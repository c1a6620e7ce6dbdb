"""Write all files of a report; the same results give the same bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from harness.report import html, junit
from harness.report.model import dump

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.model import Results


def write(results: Results, directory: Path) -> None:
    """Write `results.json`, `junit.xml` and `index.html` into a report directory."""
    directory.mkdir(parents=True, exist_ok=True)
    # The machine-readable ones first: they must not wait for a drawing.
    (directory / "results.json").write_text(dump(results), encoding="utf-8")
    (directory / "junit.xml").write_text(junit.render(results), encoding="utf-8")
    page = html.render(results, directory)
    (directory / "index.html").write_text(page, encoding="utf-8")


def point_latest(directory: Path) -> None:
    """Make `latest`, next to a report directory, point to it."""
    link = directory.parent / "latest"
    fresh = directory.parent / f".latest-{directory.name}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(directory.name)
    os.replace(fresh, link)  # noqa: PTH105 - it must replace the old link at once
