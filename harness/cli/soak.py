"""`harness soak`: the same suites repeatedly; no verdict may change."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.inputs import DEFAULT_ACCEL, AccelChoice, run_options
from harness.cli.say import clock_text, err, left_text, out, show, table
from harness.cli.series import RunSeries
from harness.cli.verdict import conclude
from harness.criteria import DECIDING, Verdict
from harness.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.model import Results


@dataclass(frozen=True, slots=True)
class Lap:
    """What one run said: the verdict of each required criterion, and of each test."""

    criteria: dict[str, str]
    tests: dict[str, str]
    seconds: float

    @classmethod
    def of(cls, results: Results | str) -> Lap:
        """Reduce a run to what must not change; a run without results is broken."""
        if isinstance(results, str):
            return cls(dict.fromkeys(DECIDING, Verdict.BROKEN.value), {}, 0.0)
        return cls(
            {c.id: c.verdict.value for c in results.criteria if c.id in DECIDING},
            {t.nodeid: t.outcome for t in results.tests},
            results.run.duration_s,
        )


def soak(
    runs: Annotated[int, typer.Option(min=2, help="how often")] = 10,
    *,
    short: Annotated[
        bool, typer.Option("--short", help="only the fastest test of each criterion")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="workers")] = 2,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", help="the spec, as for pytest")
    ] = None,
    accel: AccelChoice = DEFAULT_ACCEL,
    report_dir: Annotated[Path, typer.Option(help="where the reports go")] = Path(
        "reports"
    ),
) -> None:
    """Judge a healthy system repeatedly; no verdict may change."""
    # What `make accept` decides the five by: a criterion's name would bring the tests
    # that take minutes each along.
    options = ["-m", "not thorough", "-n", str(jobs), "--dist", "worksteal"]
    options += run_options(fleet, accel)
    series = RunSeries("soak", report_dir.absolute(), options)
    laps: list[Lap] = []
    for number in range(1, runs + 1):
        lap = Lap.of(series.take(f"{number:02d}", selection(short=short)))
        laps.append(lap)
        said = Counter(lap.criteria.values()).most_common()
        words = ", ".join(f"{count} {verdict}" for verdict, count in said)
        left = left_text([lap.seconds for lap in laps], runs)
        took = clock_text(lap.seconds)
        err.print(f"[bold]{number}/{runs}[/] {words} after {took}{left}")
        _write(series.directory / "soak.json", laps)
    _print(laps, short=short)
    out.print(f"\nreports: {series.directory}")
    changed = unsteady(laps, short=short)
    conclude(Exit.FAIL if changed else Exit.PASS, series.directory)


def selection(*, short: bool) -> list[str]:
    """Select the tests of the five: all of them, or only the fastest ones."""
    criteria = [word for each in DECIDING for word in ("--criterion", each)]
    return ["--fastest", *criteria] if short else criteria


def unsteady(laps: Sequence[Lap], *, short: bool = False) -> list[str]:
    """Name each criterion that did not pass every time, and each test that changed.

    In a short soak one test of each criterion passes, which is `partial`.
    """
    good = [{Verdict.PASS.value}, *([{Verdict.PARTIAL.value}] if short else [])]
    said = {c: {lap.criteria[c] for lap in laps} for c in DECIDING}
    criteria = [c for c in DECIDING if said[c] not in good]
    tests = sorted({test for lap in laps for test in lap.tests})
    changed = [t for t in tests if len({lap.tests.get(t) for lap in laps}) > 1]
    return criteria + changed


def _write(file: Path, laps: Sequence[Lap]) -> None:
    rows = [
        {"criteria": lap.criteria, "tests": lap.tests, "duration_s": lap.seconds}
        for lap in laps
    ]
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _print(laps: Sequence[Lap], *, short: bool) -> None:
    lines = table("criterion", "verdicts", "runs")
    for criterion in DECIDING:
        said = Counter(lap.criteria[criterion] for lap in laps).most_common()
        words = ", ".join(f"{count} {verdict}" for verdict, count in said)
        lines.add_row(criterion, words, str(len(laps)))
    show(lines)
    changed = unsteady(laps, short=short)
    told = f"not steady: {', '.join(changed)}" if changed else "no verdict changed"
    out.print(f"\n{told}", markup=False)
