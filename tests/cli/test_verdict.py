"""`harness verdict`: the last verdict again, with the exit status that make hides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.exits import Exit, verdict_line
from harness.process import run
from harness.report import verdicts
from tests.waiting import patient

if TYPE_CHECKING:
    from harness.process import Completed

ROOT = Path(__file__).parents[2]


def verdict(reports: Path) -> Completed:
    """Run the command on a directory of reports."""
    program = "from harness.cli import main; main()"
    return run(
        [sys.executable, "-c", program, "verdict", str(reports)],
        deadline=patient(50, "harness verdict"),
        cwd=ROOT,
    )


@pytest.mark.parametrize("status", list(Exit))
def test_it_repeats_line_and_status(tmp_path: Path, status: Exit) -> None:
    """Whatever a run ended with."""
    line = verdict_line(status.word, status, tmp_path / "20261128T000000Z-0000")
    verdicts.record(tmp_path, line)
    said = verdict(tmp_path)
    assert (said.rc, said.stdout) == (status, f"{line}\n")


def test_a_run_that_has_not_ended_is_broken(tmp_path: Path) -> None:
    """It leaves no verdict of the run before it."""
    verdicts.record(tmp_path, verdict_line("pass", Exit.PASS, tmp_path / "old"))
    verdicts.begin(tmp_path, tmp_path / "new")
    said = verdict(tmp_path)
    assert said.rc == Exit.BROKEN
    assert said.stdout.startswith("verdict: unfinished status=3 report=")


@pytest.mark.parametrize("text", [None, "", "verdict: pass\n", "pass", "\0\xff"])
def test_no_verdict_is_an_error(tmp_path: Path, text: str | None) -> None:
    """A file of another shape is none, and none is never a pass."""
    if text is not None:
        (tmp_path / verdicts.NAME).write_text(text, encoding="utf-8")
    said = verdict(tmp_path)
    assert said.rc == Exit.ERROR
    assert said.stdout == ""
    assert "has no verdict" in said.stderr
