"""`harness before-after` on suites made for the purpose, at the places of the real."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from harness import report
from harness.cli.before_after import Row, Side, convincing, objection, selection
from harness.criteria import DECIDING, ControlVerdict, Verdict
from harness.fault import Ruling
from harness.fault.microvm import SharedHost
from harness.process import Completed, run
from tests.waiting import patient

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
CONFIG = """\
[pytest]
addopts = --import-mode=importlib -p no:cacheprovider -p timeout -p harness.plugin
"""
SUITE = """\
import pytest

from harness.evidence import Check

@pytest.mark.criterion("{criterion}")
@pytest.mark.scenario(*{scenarios})
@pytest.mark.fastest
def test_it(fault, check):
    ok = {good} if fault is None else {good_of_old}
    check(Check("sessions run on", True, True))
    check(Check("{check}", [] if ok else ["ESTALE"], []))
"""


def project(place: Path, **changed: str) -> Path:
    """Write suites whose tests fail on the microvm and pass on the VM.

    `changed` replaces what is written into the suite of `gc-no-estale`.
    """
    (place / "pytest.ini").write_text(CONFIG)
    for criterion in DECIDING:
        about = criterion in SharedHost.expects
        filling = {
            "criterion": criterion,
            "scenarios": repr(SharedHost.scenario),
            "check": min(SharedHost.expects.get(criterion, {"all is well"})),
            "good": "True",
            "good_of_old": str(not about),
            **(changed if criterion == "gc-no-estale" else {}),
        }
        path = place / "suites" / criterion / "test_it.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(SUITE.format(**filling)))
    return place


def before_after(place: Path) -> Completed:
    """Run the command there."""
    kept: Mapping[str, str] = {
        k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")
    }
    main = "from harness.cli import main; main()"
    return run(
        [sys.executable, "-c", main, "before-after"],
        deadline=patient(55, "harness before-after"),
        cwd=place,
        env={**kept, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


def test_the_old_world_fails_what_it_is_about(tmp_path: Path) -> None:
    """One table, one report, exit status 0."""
    ended = before_after(project(tmp_path))
    assert ended.rc == 0, ended.stdout + ended.stderr
    (home,) = (tmp_path / "reports").glob("*-before-after-*")
    table = (home / "before-after.txt").read_text()
    assert (
        "old  fail     every file of every live closure reads back: expected none"
        in table
    )
    assert "old  not-run  there is nothing to swap" in table
    assert table.count("new  pass") == 5
    results = report.load(home / "results.json")
    assert {results.verdict(c) for c in DECIDING} == {Verdict.PASS}
    assert [c.verdict for c in results.controls] == ["caught"]
    assert (home / "old" / "latest" / "index.html").exists()
    assert (home / "new" / "latest" / "index.html").exists()


def test_a_new_world_that_fails_convinces_nobody(tmp_path: Path) -> None:
    """The table is printed in spite of it, with the reason below."""
    ended = before_after(project(tmp_path, good="False"))
    assert ended.rc == 1, ended.stderr
    why = "not convincing: the VM does not pass gc-no-estale"
    assert why in ended.stdout
    assert "swap-keeps-address" in ended.stdout


def test_an_old_world_must_fail_in_the_named_check_and_no_more() -> None:
    """Else the case is not the one that is made."""
    passing = [
        Row(c, c in SharedHost.expects, *(Side(Verdict.PASS, "1 test passed"),) * 2)
        for c in DECIDING
    ]
    expected = tuple(SharedHost.expects)
    caught = Ruling(ControlVerdict.CAUGHT, expected, (), "reads back", "")
    assert convincing(passing, caught)
    for ruling, why in (
        (
            Ruling(ControlVerdict.MISSED, (), (), "", "gc-no-estale passed"),
            "gc-no-estale passed",
        ),
        (
            replace(caught, collateral=("switch-keeps-sessions",)),
            "the microvm fails switch-keeps-sessions, which this is not about",
        ),
    ):
        assert not convincing(passing, ruling)
        assert objection(passing, ruling) == f"not convincing: {why}"


def test_the_telling_tests_judge_the_deciding_criteria() -> None:
    """All five of them, or those that can be judged on the microvm."""
    assert selection(())[0] == "--fastest"
    assert selection(())[2::2] == list(DECIDING)
    assert "swap-keeps-address" not in selection({"swap-keeps-address": ""})
