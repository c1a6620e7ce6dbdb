"""What earlier reports say: rulings for `--list-criteria`, durations for estimates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.criteria import Outcome
from harness.errors import InputError
from harness.report.model import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

_READ = 20  # reports, so that a run never waits long for its estimate
_TELLING = (Outcome.PASSED, Outcome.FAILED)


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


def durations(reports: Path, wanted: Collection[str]) -> dict[str, float]:
    """Return how long each wanted test took when it last passed or failed, seconds.

    Reads the newest reports until all are known. Reports of another format are passed
    over.
    """
    found: dict[str, float] = {}
    for file in sorted(reports.glob("2*/results.json"), reverse=True)[:_READ]:
        if all(nodeid in found for nodeid in wanted):
            break
        try:
            tests = load(file).tests
        except InputError:
            continue
        for test in tests:
            if test.nodeid in wanted and test.outcome in _TELLING:
                found.setdefault(test.nodeid, test.duration_s)
    return found


def remaining(
    known: Mapping[str, float],
    waiting: Iterable[str],
    running: Mapping[str, float],
    workers: int,
) -> float | None:
    """Estimate how long a run still takes, seconds; None where nothing is known.

    `running` has the seconds that each test runs already. A test without a duration
    counts as the mean of the others. No run ends before its longest test.
    """
    if not known:
        return None
    mean = sum(known.values()) / len(known)
    left = [known.get(nodeid, mean) for nodeid in waiting]
    left += [max(0.0, known.get(n, mean) - gone) for n, gone in running.items()]
    return max([sum(left) / max(1, workers), *left])
