"""`harness rehearse`: an event of the migration by hand, in a throwaway."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import report
from harness.cli.inputs import DEFAULT_ACCEL, DEFAULT_FLEET, AccelChoice, FleetFile
from harness.cli.say import out
from harness.cli.session import attached
from harness.criteria import Outcome
from harness.errors import InputError, Mistake
from harness.exits import Exit
from harness.fleet import load_fleet
from harness.report.model import RESULTS
from harness.report.writer import LATEST

if TYPE_CHECKING:
    from harness.report import Results

_STATUS = {
    Outcome.PASSED: Exit.PASS,
    Outcome.FAILED: Exit.FAIL,
    Outcome.BROKEN: Exit.BROKEN,
}


class Rehearsal(Enum):
    """What can be rehearsed."""

    SWAP = "swap"


def rehearse(
    event: Annotated[Rehearsal, typer.Argument(help="the event to rehearse")],
    *,
    script: Annotated[
        bool, typer.Option("--script", help="do it as the suite does, and watch")
    ] = False,
    fleet: FleetFile = DEFAULT_FLEET,
    accel: AccelChoice = DEFAULT_ACCEL,
    report_dir: Annotated[Path, typer.Option(help="where the report goes")] = Path(
        "reports/rehearsals"
    ),
) -> None:
    """Do the swap by hand on a throwaway VM, while probes watch.

    Starts the old VM and dev, shows each second what the LAN client sees, and judges it
    at the end with the checks of the suite.
    """
    file = _refuse(event, fleet, script=script)
    argv = [
        *(sys.executable, "-m", "pytest", "-s", "-n", "0", str(file)),
        *("-k", "by_script" if script else "by_hand"),
        *("--fleet", str(fleet), "--accel", accel.value),
        *("--report-dir", str(report_dir)),
    ]
    latest = report_dir / LATEST
    before = latest.resolve()
    status = attached(argv)
    if latest.resolve() == before:
        raise typer.Exit(status)
    results = report.load(latest / RESULTS)
    if results.run.interrupted:
        raise typer.Exit(status)
    ended = status_of(results)
    out.print(f"{event.value} {ended.word}: {latest.resolve()}", markup=False)
    raise typer.Exit(ended)


def status_of(results: Results) -> Exit:
    """Return the exit status of a rehearsal: that of its test, of one alone."""
    if len(results.tests) != 1:
        return Exit.UNDECIDED
    return _STATUS.get(results.tests[0].outcome, Exit.UNDECIDED)


def _refuse(event: Rehearsal, fleet: Path, *, script: bool) -> Path:
    """Return the suite's file of a rehearsal, which pytest collects only when named.

    Raises InputError where it could not be rehearsed, before anything starts.
    """
    name = f"*/rehearse_{event.value}.py"
    files = sorted(Path("suites").glob(name))
    mistakes = []
    if not files:
        allowed = f"the checkout, where suites/{name} is"
        mistakes.append(Mistake("directory", str(Path.cwd()), "", allowed))
    if not script and not sys.stdin.isatty():
        mistakes.append(Mistake("standard input", "", "", "a terminal, or --script"))
    loaded = load_fleet(fleet)
    if loaded.migration is None:
        mistakes.append(Mistake(str(fleet), "[migration]", "", "needed for a swap"))
    if mistakes:
        raise InputError("nothing can be rehearsed", mistakes)
    return files[0]
