"""`harness judge`: a kept report under today's budgets, without a VM."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer

from harness import report
from harness.cli.inputs import DEFAULT_FLEET, FleetFile
from harness.cli.say import out, show, table
from harness.cli.verdict import conclude, fold_killed
from harness.errors import InputError, Mistake
from harness.fleet import load_fleet
from harness.report.model import RESULTS
from harness.report.rejudge import rejudge
from harness.report.wording import misworded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.report import Results

_MOST = 20  # mistakes that one message lists


def judge(
    directory: Annotated[
        Path, typer.Argument(metavar="REPORT", help="a report's directory")
    ],
    fleet: FleetFile = DEFAULT_FLEET,
) -> None:
    """Judge a kept report again with the budgets of a spec."""
    fold_killed(directory)
    file = directory / RESULTS
    if not file.is_file():
        raise InputError(f"{directory} is no report: there is no {RESULTS} in it")
    kept = report.load(file)
    now = rejudge(kept, load_fleet(fleet).budgets.model_dump())
    if problems := misworded(now):
        mistakes = [Mistake(str(file), "", "", text) for text in problems[:_MOST]]
        more = f"; {len(problems) - _MOST} more" if problems[_MOST:] else ""
        raise InputError(f"the report cannot be judged by its facts{more}", mistakes)
    _print(kept, now)
    conclude(now.conclusion, directory)


def _print(kept: Results, now: Results) -> None:
    lines = table("criterion", "then", "now", "reason")
    for before, row in zip(kept.criteria, now.criteria, strict=True):
        if row.tests:
            lines.add_row(row.id, before.verdict, row.verdict, row.reason)
    show(lines)
    changed = list(_changed(kept, now))
    out.print("\n".join(["", *changed]) if changed else "\nno check changed")
    count = sum(len(test.checks) for test in now.tests)
    out.print(f"{count} checks of {len(now.tests)} tests judged by {kept.run.id}")


def _changed(kept: Results, now: Results) -> Iterator[str]:
    for before, test in zip(kept.tests, now.tests, strict=True):
        for was, row in zip(before.checks, test.checks, strict=True):
            if was.ok != row.ok:
                verb = "holds now" if row.ok else "does not hold any more"
                yield f"{row.name} {verb}: {row.reason} ({test.nodeid})"
