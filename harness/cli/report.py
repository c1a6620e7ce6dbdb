"""`harness report …`: what can be done with a report that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.say import out
from harness.cli.verdict import fold_killed
from harness.report import archive

app = typer.Typer(
    help="Pack a report.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def report() -> None:
    """Pack a report."""


@app.command("zip")
def pack(
    directory: Annotated[
        Path, typer.Argument(metavar="REPORT", help="a report's directory")
    ] = Path("reports/latest"),
    *,
    output: Annotated[
        Path | None, typer.Option(help="the zip file; default REPORT.zip next to it")
    ] = None,
) -> None:
    """Pack a report with all its evidence into one file."""
    fold_killed(directory)
    whole = directory.resolve()
    file = output or whole.with_name(f"{whole.name}.zip")
    count = archive.pack(directory, file)
    size = file.stat().st_size / (1024 * 1024)
    out.print(f"{file}: {count} files, {size:.1f} MiB", markup=False, soft_wrap=True)
