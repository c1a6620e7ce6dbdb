"""`harness before-after`: the same tests on a microvm and on the VM, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.inputs import DEFAULT_ACCEL, AccelChoice, run_options
from harness.cli.say import err, out, show, table
from harness.cli.series import RunSeries, observe, recorded
from harness.cli.verdict import conclude
from harness.criteria import BY_ID, DECIDING, Outcome, Verdict
from harness.errors import HarnessError
from harness.exits import Exit
from harness.fault import Ruling, judge, load
from harness.report.colours import style
from harness.report.model import CriterionResult, Results
from harness.report.writer import write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.fault import Fault

MICROVM = "microvm"
# The old VM has the final address already, and nobody takes it over.
_NOT_IN_THE_OLD = {"swap-keeps-address": "there is nothing to swap: it has the address"}
_LONGEST = 240


@dataclass(frozen=True, slots=True)
class Side:
    """What one world did with one criterion."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """One criterion in both worlds; `about` says that the migration is about it."""

    criterion: str
    about: bool
    old: Side
    new: Side


def before_after(
    *,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", help="the spec, as for pytest")
    ] = None,
    accel: AccelChoice = DEFAULT_ACCEL,
    report_dir: Annotated[Path, typer.Option(help="where the report goes")] = Path(
        "reports"
    ),
) -> None:
    """Run the same tests on a microvm and on the VM, and compare."""
    options = run_options(fleet, accel)
    series = RunSeries("before-after", report_dir.absolute(), options)
    fault = load(MICROVM)
    err.print(f"[bold]microvm[/]: {fault.story()}")
    old = _take(series, "old", selection(_NOT_IN_THE_OLD), MICROVM)
    err.print("[bold]VM[/]: the guest of this fleet")
    new = _take(series, "new", selection(()), "")
    rows, ruling = compare(fault, old, new), judge(fault, observe(old))
    text = _render(rows)
    (series.directory / "before-after.txt").write_text(text, encoding="utf-8")
    _write(series, new, fault, ruling)
    _print(rows)
    out.print(f"\nreport: {series.directory / 'index.html'}")
    good = convincing(rows, ruling)
    if not good:
        out.print(objection(rows, ruling), markup=False)
    conclude(Exit.PASS if good else Exit.FAIL, series.directory)


def selection(without: Sequence[str] | dict[str, str]) -> list[str]:
    """Select the fastest test of each required criterion, but for those named."""
    chosen = [c for c in DECIDING if c not in without]
    return ["--fastest", *(word for c in chosen for word in ("--criterion", c))]


def compare(fault: Fault, old: Results, new: Results) -> list[Row]:
    """Put the two worlds side by side."""
    return [
        Row(
            criterion,
            criterion in fault.expects,
            _side(old, criterion, fault.expects.get(criterion, frozenset())),
            _side(new, criterion, frozenset()),
        )
        for criterion in DECIDING
    ]


def convincing(rows: Sequence[Row], ruling: Ruling) -> bool:
    """Whether the VM passes all, and the microvm fails just what it is about.

    One test of each criterion runs: it can pass, its criterion is `partial` then.
    """
    return ruling.good and not _weak(rows)


def _weak(rows: Sequence[Row]) -> list[str]:
    passed = {Verdict.PASS, Verdict.PARTIAL}
    return [row.criterion for row in rows if row.new.verdict not in passed]


def _take(series: RunSeries, name: str, tests: Sequence[str], fault: str) -> Results:
    results = series.take(name, tests, fault)
    if isinstance(results, str):
        raise HarnessError(f"the {name} world could not be judged", seen=results)
    return results


def _side(results: Results, criterion: str, telling: frozenset[str]) -> Side:
    """Say how a criterion ended, and by which check: the one expected if it failed."""
    row = next(c for c in results.criteria if c.id == criterion)
    if row.verdict is Verdict.NOT_RUN and criterion in _NOT_IN_THE_OLD:
        return Side(row.verdict, _NOT_IN_THE_OLD[criterion])
    failed = [
        check
        for test in results.tests
        if criterion in test.criteria and test.outcome is Outcome.FAILED
        for check in test.checks
        if not check.ok
    ]
    failed.sort(key=lambda check: check.name not in telling)
    if row.verdict is not Verdict.FAIL or not failed:
        return Side(row.verdict, _short(row.reason.partition("\n")[0]))
    first = failed[0]
    return Side(row.verdict, _short(f"{first.name}: {first.reason}"))


def _short(reason: str) -> str:
    return shorten(reason, _LONGEST, placeholder=" …")


def objection(rows: Sequence[Row], ruling: Ruling) -> str:
    """Return why a comparison proves nothing."""
    if weak := _weak(rows):
        return f"not convincing: the VM does not pass {', '.join(weak)}"
    beside = ", ".join(ruling.collateral)
    why = ruling.reason or f"the microvm fails {beside}, which this is not about"
    return f"not convincing: {why}"


def _print(rows: Sequence[Row]) -> None:
    lines = table("criterion", "microvm", "VM", "in the microvm", "in the VM")
    for row in rows:
        old, new = (
            f"[{style(side.verdict)}]{side.verdict.value}[/]"
            for side in (row.old, row.new)
        )
        name = f"{'*' if row.about else ' '} {row.criterion}"
        lines.add_row(name, old, new, row.old.reason, row.new.reason)
        lines.add_row()
    show(lines)
    out.print("* what the migration is about")


def _render(rows: Sequence[Row]) -> str:
    """Write the table as plain text."""
    parts = []
    for row in rows:
        mark = "*" if row.about else " "
        parts += [
            f"{mark} {row.criterion}: {BY_ID[row.criterion].title}",
            f"    old  {row.old.verdict.value:8} {row.old.reason}",
            f"    new  {row.new.verdict.value:8} {row.new.reason}",
            "",
        ]
    return "\n".join([*parts, "* what the migration is about", ""])


def _write(series: RunSeries, new: Results, fault: Fault, ruling: Ruling) -> None:
    """Report the VM's criteria, with the microvm as a control."""
    rows = tuple(
        CriterionResult(
            id=row.id,
            title=row.title,
            decides=row.decides,
            verdict=row.verdict,
            reason=row.reason,
        )
        for row in new.criteria
    )
    results = Results(
        run=series.provenance(),
        criteria=rows,
        tests=(),
        controls=(recorded(fault, ruling),),
    )
    write(results, series.directory)
