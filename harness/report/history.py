"""The rulings of earlier reports, for `--list-criteria`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.report.model import load

if TYPE_CHECKING:
    from pathlib import Path


def rulings(reports: Path) -> dict[str, str]:
    """Return the verdict of each fault when it was last run into `reports`.

    Reports of another format are passed over.
    """
    found: dict[str, tuple[str, str]] = {}
    for file in reports.glob("2*/results.json"):
        try:
            results = load(file)
        except InputError:
            continue
        for control in results.controls:
            told = (results.run.started, control.verdict)
            found[control.id] = max(found.get(control.id, told), told)
    return {name: verdict for name, (_, verdict) in found.items()}
