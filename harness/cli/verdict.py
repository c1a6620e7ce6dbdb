"""`harness verdict`: the last verdict again, with its exit status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import report
from harness.cli.say import err, out
from harness.errors import InputError
from harness.exits import Exit, verdict_line
from harness.report import abandoned, verdicts
from harness.report.model import RESULTS


def verdict(
    directory: Annotated[
        Path, typer.Argument(help="reports, or one of them", show_default=True)
    ] = Path("reports"),
) -> None:
    """Print the last verdict again; end with its exit status.

    For CI, because make ends with 2 for every failure. Ends with 2 where nothing was
    judged. A report whose run was killed is made whole first.
    """
    fold_killed(directory)
    if (directory / RESULTS).is_file():
        run = report.load(directory / RESULTS).run
        if run.status is None:
            raise InputError(f"{directory} is of an older version: it has no status")
        out.print(
            verdict_line(run.verdict, run.status, directory.resolve()), markup=False
        )
        raise typer.Exit(run.status)
    if (found := verdicts.last(directory)) is None:
        raise InputError(
            f"{directory} has no verdict: nothing was judged, or it ended before that",
            hint=f"{verdicts.NAME} is written by `make accept`, pytest with the suites,"
            " and the commands of `harness` that judge",
        )
    out.print(found.line, markup=False)
    raise typer.Exit(found.status)


def fold_killed(directory: Path) -> None:
    """Fold what killed runs left, and say so. Raises InputError if one goes on."""
    for line in abandoned.settle(directory):
        err.print(line, markup=False)


def conclude(status: Exit, report: Path) -> None:
    """Print the last line of a command that judged, keep it, end with its status.

    `report` is the directory that it wrote, or the report that it judged again.
    """
    line = verdict_line(status.word, status, report.resolve())
    verdicts.record(report.resolve().parent, line)
    out.print(line, markup=False)
    if status:
        raise typer.Exit(status)
