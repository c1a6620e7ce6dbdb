"""`harness judge`, as it is run at a prompt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.process import run
from harness.report.writer import write
from tests.report.test_rejudge import gap, kept
from tests.waiting import patient

if TYPE_CHECKING:
    from harness.process import Completed

ROOT = Path(__file__).parents[2]


def judge(*args: str) -> Completed:
    """Run the command."""
    return run(
        [sys.executable, "-c", "from harness.cli import main; main()", "judge", *args],
        deadline=patient(50, "harness judge"),
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    ("ms", "rc", "said"),
    [(150, 0, "no check changed"), (2999, 0, "no long gap holds now")],
)
def test_a_kept_report_is_judged_by_its_facts(
    tmp_path: Path, ms: float, rc: int, said: str
) -> None:
    """The budgets are the spec's of today, not those of the report."""
    row = gap(ms, limit=2000)
    outcome, reason = ("passed", "") if row.ok else ("failed", "no long gap: …")
    results = kept(outcome, reason, row)
    part = results.run.model_copy(update={"full": False})
    write(results.model_copy(update={"run": part}), tmp_path)
    done = judge(str(tmp_path))
    assert (done.rc, done.stderr) == (rc, "")
    assert said in done.stdout


def test_a_report_without_facts_is_refused(tmp_path: Path) -> None:
    """By one message, with status 2."""
    row = gap(150).model_copy(update={"relation": None})
    write(kept("passed", "", row), tmp_path)
    done = judge(str(tmp_path))
    assert done.rc == 2
    assert "no long gap: it states no facts" in done.stderr
    done = judge(str(tmp_path / "nowhere"))
    assert done.rc == 2
    assert "is no report: there is no results.json in it" in done.stderr
