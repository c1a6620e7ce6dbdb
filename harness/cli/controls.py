"""`harness controls`: the suites under every fault, and whether they detect it."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import report
from harness.cli.inputs import DEFAULT_ACCEL, AccelChoice, refuse_unused, run_options
from harness.cli.say import clock_text, err, left_text, out, table
from harness.cli.series import RunSeries, observe, recorded
from harness.cli.verdict import conclude
from harness.criteria import BY_ID, DECIDING, REGISTER, ControlVerdict, Verdict
from harness.errors import InputError, Mistake, near
from harness.exits import Exit
from harness.fault import Fault, Ruling, built_in, judge, load_all
from harness.report import summary
from harness.report.colours import style
from harness.report.model import RESULTS, CriterionResult, Results
from harness.report.writer import write

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Control:
    """One fault, and the words by which pytest finds it."""

    reference: str
    fault: Fault


_OF_RUNS = {
    "into": "--into",
    "jobs": "--jobs",
    "fleet": "--fleet",
    "accel": "--accel",
    "report_dir": "--report-dir",
}


def controls(  # noqa: PLR0913 - one parameter for each option
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="built-in faults or FILE:CLASS; default all"),
    ] = None,
    *,
    fault: Annotated[
        list[str] | None, typer.Option(help="another fault; repeatable")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="only the faults of this criterion")
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="one fault for each required criterion")
    ] = False,
    fleet: Annotated[
        Path | None, typer.Option("--fleet", help="the spec, as for pytest")
    ] = None,
    accel: AccelChoice = DEFAULT_ACCEL,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="faults at the same time")
    ] = 1,
    report_dir: Annotated[Path, typer.Option(help="where the report goes")] = Path(
        "reports"
    ),
    into: Annotated[
        Path | None,
        typer.Option(help="a report that gets the rulings too"),
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="print the faults' names, run nothing")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="with --list: all that is known of each")
    ] = False,
) -> None:
    """Inject faults, and check that the suites detect each."""
    named = [*(names or []), *(fault or [])]
    _refuse(context, named, listing=listing, as_json=as_json)
    chosen = choose(named, only=only, fast=fast)
    if listing:
        _print_list(chosen, as_json=as_json)
        return
    if into is not None and not (into / RESULTS).is_file():
        raise InputError(f"--into {into}: there is no {RESULTS} in it")
    options = run_options(fleet, accel)
    run = Controls(RunSeries("controls", report_dir.absolute(), options))
    run.take_all(chosen, jobs)
    taken = run.taken(chosen)
    out.print(f"report: {run.series.directory / 'index.html'}")
    _print_matrix(taken)
    if unsaid := summary.append(summary.render(run.results()), os.environ):
        err.print(unsaid, markup=False)
    if into is not None:
        _add(taken, into)
    conclude(_status(taken), run.series.directory)


def _refuse(
    context: typer.Context, named: Sequence[str], *, listing: bool, as_json: bool
) -> None:
    """Raise InputError for options that mean nothing together."""
    if as_json and not listing:
        alone = Mistake("command line", "--json", "", "left out, or given with --list")
        raise InputError("nothing is listed", [alone])
    if listing:
        refuse_unused(context, "--list", _OF_RUNS, "runs nothing")
    if named:
        word, why = " ".join(named), "says already which faults are injected"
        refuse_unused(context, word, {"fast": "--fast", "only": "--only"}, why)


def choose(names: Sequence[str], *, only: str | None, fast: bool) -> list[Control]:
    """Return the selected faults. Raises InputError when there is none."""
    if only is not None and only not in BY_ID:
        known = ", ".join(BY_ID)
        raise InputError(
            f"--only {only} is no criterion{near(only, BY_ID)}",
            hint=f"there are: {known}",
        )
    references = names or list(built_in())
    pairs = zip(references, load_all(references), strict=True)
    found = [Control(reference, fault) for reference, fault in pairs]
    chosen = [
        control
        for control in found
        if (only is None or only in control.fault.expects)
        and (not fast or control.fault.fast)
    ]
    if not chosen:
        raise InputError(
            "no fault is left to run", hint="see `harness controls --list`"
        )
    return chosen


class Controls:
    """Rulings, and their report; written after each, so that none is lost.

    Runs may go on side by side: machines of different faults have nothing in common
    but the cache, which has locks of its own.
    """

    def __init__(self, series: RunSeries) -> None:
        self.series = series
        self._rulings: dict[str, tuple[Control, Ruling]] = {}
        self._took: list[float] = []
        self._asked = (0, 1)  # faults, and how many at a time
        self._lock = threading.Lock()

    def take_all(self, chosen: Sequence[Control], jobs: int) -> None:
        """Run the suites under all faults, so many at a time."""
        places = [f"{number}/{len(chosen)}" for number in range(1, len(chosen) + 1)]
        self._asked = (len(chosen), jobs)
        with ThreadPoolExecutor(jobs) as pool:
            try:
                for _ in pool.map(self.take, chosen, places):
                    pass
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.series.end()
                raise

    def take(self, control: Control, place: str) -> None:
        """Run the suites under one fault and rule on it."""
        fault = control.fault
        err.print(f"[bold]{place} {fault.name}[/]: {fault.story()}")
        began = time.monotonic()
        ruling = self._rule(control)
        colour = style(ruling.verdict)
        took = time.monotonic() - began
        with self._lock:
            self._took.append(took)
            self._rulings[fault.name] = (control, ruling)
            left = left_text(self._took, *self._asked)
            err.print(
                f"    [{colour}]{ruling.verdict}[/] {fault.name} after"
                f" {clock_text(took)}{left}: {ruling.check or ruling.reason}",
                soft_wrap=True,
            )
            self._write()

    def taken(self, chosen: Sequence[Control]) -> list[tuple[Control, Ruling]]:
        """Return what was ruled, in the order in which it was asked for."""
        return [self._rulings[control.fault.name] for control in chosen]

    def _rule(self, control: Control) -> Ruling:
        fault = control.fault
        results = self.series.take(fault.name, fault.selection, control.reference)
        if isinstance(results, str):
            return Ruling(ControlVerdict.BROKEN, (), (), "", results)
        return judge(fault, observe(results))

    def results(self) -> Results:
        """Return the rulings so far as the results of one run."""
        reason = "judged under faults alone: see the controls"
        rows = tuple(
            CriterionResult(
                id=row.id,
                title=row.title,
                decides=row.decides,
                verdict=Verdict.NOT_RUN,
                reason=reason,
            )
            for row in REGISTER
        )
        return Results(
            run=self.series.provenance(),
            criteria=rows,
            tests=(),
            controls=tuple(recorded(c.fault, r) for c, r in self._rulings.values()),
        )

    def _write(self) -> None:
        write(self.results(), self.series.directory)


def _status(taken: Sequence[tuple[Control, Ruling]]) -> Exit:
    """Give the worst of what the rulings ask for: 1, else 3, else 0."""
    asked = {recorded(c.fault, ruling).ruling for c, ruling in taken}
    bad = [status for status in (Exit.FAIL, Exit.BROKEN) if status in asked]
    return bad[0] if bad else Exit.PASS


def _add(taken: Sequence[tuple[Control, Ruling]], into: Path) -> None:
    """Put the rulings into the report of another run; bad ones change its verdict."""
    rulings = tuple(recorded(c.fault, ruling) for c, ruling in taken)
    results = report.load(into / RESULTS)
    run = results.run
    if (bad := _status(taken)) is not Exit.PASS and run.status == Exit.PASS:
        run = run.model_copy(update={"verdict": bad.word, "status": int(bad)})
    both = results.model_copy(update={"controls": rulings, "run": run})
    write(both, into.absolute())


def _print_list(chosen: Sequence[Control], *, as_json: bool) -> None:
    """Print what `harness controls` takes as arguments, one on each line, or JSON."""
    if not as_json:
        typer.echo("\n".join(control.reference for control in chosen))
        return
    rows = [
        {
            "reference": control.reference,
            "name": fault.name,
            "story": fault.story(),
            "source": fault.source,
            "benign": fault.benign,
            "fast": fault.fast,
            "expects": {c: sorted(names) for c, names in fault.expects.items()},
            "selection": list(fault.selection),
        }
        for control in chosen
        for fault in [control.fault]
    ]
    typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))


def _print_matrix(taken: Sequence[tuple[Control, Ruling]]) -> None:
    """Print the matrix of faults and criteria: what each had to fail, and what did."""
    others = [
        row.id
        for row in REGISTER
        if not row.decides
        and any(row.id in (*c.fault.expects, *r.failed) for c, r in taken)
    ]
    columns = (*DECIDING, *others)
    heads = [c.partition("-")[0] if c in DECIDING else c for c in columns]
    lines = table("fault", *heads, "verdict", "check, reason")
    for control, ruling in taken:
        cells = [_cell(control.fault, ruling, criterion) for criterion in columns]
        colour = style(ruling.verdict)
        lines.add_row(
            control.fault.name,
            *cells,
            f"[{colour}]{ruling.verdict}[/]",
            ruling.check or ruling.reason,
        )
    out.print(lines)
    counted = ", ".join(
        f"{count} {kind}"
        for kind in ControlVerdict
        if (count := sum(r.verdict is kind for _, r in taken))
    )
    out.print(
        f"{counted}. x failed as it must, - passed although it must fail,"
        " ? not judged (broken), ! failed as well (collateral)"
    )


def _cell(fault: Fault, ruling: Ruling, criterion: str) -> str:
    if criterion in fault.expects:
        if criterion in ruling.failed:
            return "x"
        return "?" if ruling.verdict is ControlVerdict.BROKEN else "-"
    return "!" if criterion in ruling.failed else ""
