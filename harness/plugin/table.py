"""The table of criteria that ends a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.criteria import Verdict
from harness.report.colours import style

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.model import CriterionResult, Results


def render(results: Results, directory: Path, *, width: int, colour: bool) -> str:
    """Render criteria with verdict, time and evidence for a terminal."""
    table = Table(box=None, pad_edge=False, expand=False)
    table.add_column("criterion", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("evidence, reason", overflow="fold")
    quiet = []
    for row in results.criteria:
        if row.verdict is Verdict.NOT_RUN and not (row.decides or row.tests):
            quiet.append(row.id)
            continue
        star = "*" if row.decides else " "
        time = f"{row.duration_s:.0f} s" if row.tests else ""
        table.add_row(
            f"{star} {row.id}",
            f"[{style(row.verdict)}]{row.verdict}[/]",
            time,
            _why(row),
        )
    console = Console(width=width, force_terminal=colour, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
        if quiet:
            console.print(f"[dim]not run: {', '.join(quiet)}[/]")
        console.print("[dim]* decides the exit status of a full run[/]")
        for line in _epilogue(results, directory):
            console.print(line, soft_wrap=True)
    # rich pads every line; nobody wants that in a log.
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _why(row: CriterionResult) -> str:
    folder = ""
    if row.evidence:
        folder = row.evidence[0].rpartition("/")[0]
    reason = escape(row.reason)
    if not folder:
        return reason
    return f"{escape(folder)}\n[dim]{reason}[/]"


def _epilogue(results: Results, directory: Path) -> list[str]:
    run = results.run
    lines = [f"[bold magenta]not listed[/] {escape(line)}" for line in run.uncollected]
    lines += [f"scaled down: {escape(line)}" for line in run.scaled]
    if run.accel:
        lines.append(f"accelerator: {run.accel} ({escape(run.accel_reason)})")
    lines.append(f"report: {directory / 'index.html'}")
    return lines
