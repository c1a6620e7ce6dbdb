"""`harness soak` on suites made for the purpose: steady ones, and one that is not."""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path
from textwrap import dedent

import pytest

from harness.cli.soak import Lap, unsteady
from harness.criteria import DECIDING
from harness.deadline import poll
from harness.process import Completed, run, spawn
from tests.offspring import offspring
from tests.waiting import patient

ROOT = Path(__file__).parents[2]
COMMAND = [
    *(sys.executable, "-c", "from harness.cli import main; main()"),
    *("soak", "--runs", "2", "-j", "1"),
]
STEADY = """
    import pytest

    from harness.evidence import Check

    @pytest.mark.criterion("{criterion}")
    def test_it(check):
        check(Check("held", True, True))

    @pytest.mark.thorough
    def test_that_takes_minutes(check):
        check(Check("nobody asked for it", False, True))
    """
# Passes the first time, and fails from then on.
FLAKY = """
    from pathlib import Path

    import pytest

    from harness.evidence import Check

    @pytest.mark.criterion("{criterion}")
    def test_it(check):
        been = Path("been")
        check(Check("held", not been.exists(), True))
        been.touch()
    """


# Never ends by itself.
ENDLESS = """
    from pathlib import Path

    import pytest

    from harness.evidence import Check

    from harness.deadline import Deadline, poll

    @pytest.mark.criterion("{criterion}")
    def test_it(check):
        Path("running").touch()
        poll(lambda: None, Deadline.after(300, "nothing"))
    """


def lay_out(project: Path, texts: dict[str, str]) -> dict[str, str]:
    """Write a suite for each required criterion; return the environment for a run."""
    (project / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider -p timeout"
        " -p xdist -p harness.plugin\n"
    )
    for criterion in DECIDING:
        file = project / "suites" / criterion / "test_it.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = texts.get(criterion, STEADY)
        file.write_text(dedent(text.format(criterion=criterion)))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def soak(project: Path, **texts: str) -> Completed:
    """Soak the suites twice."""
    env = lay_out(project, texts)
    deadline = patient(55, "harness soak")
    return run(COMMAND, deadline=deadline, cwd=project, env=env)


def test_a_steady_system(tmp_path: Path) -> None:
    """Every run says the same; each is kept whole."""
    ended = soak(tmp_path)
    assert ended.rc == 0, ended.stdout + ended.stderr
    assert "no verdict changed" in ended.stdout
    (file,) = (tmp_path / "reports").glob("*-soak-*/soak.json")
    laps = json.loads(file.read_text())
    assert [set(lap["criteria"].values()) for lap in laps] == [{"pass"}, {"pass"}]
    assert (file.parent / "02/latest/results.json").exists()


def test_a_verdict_that_changes(tmp_path: Path) -> None:
    """The criterion and the test are named, and the status is 1."""
    ended = soak(tmp_path, **{"gc-no-estale": FLAKY})
    assert ended.rc == 1, ended.stdout + ended.stderr
    assert (
        "not steady: gc-no-estale, suites/gc-no-estale/test_it.py::test_it"
        in ended.stdout
    )
    assert "1 pass, 1 fail" in ended.stdout


def test_no_run_outlives_the_command(tmp_path: Path) -> None:
    """The end of the command, by SIGKILL too, ends the run that it started."""
    env = lay_out(tmp_path, dict.fromkeys(DECIDING, ENDLESS))
    mark = f"soak-{uuid.uuid4()}"
    with spawn(COMMAND, cwd=tmp_path, env=env | {"MARK": mark}) as process:
        running = tmp_path / "running"
        poll(lambda: running.exists() or None, patient(40, "a run"))
        process.kill()
        process.wait(10)
        gone = patient(30, "the run to be gone")
        poll(lambda: None if offspring(mark) else True, gone)
    (results,) = (tmp_path / "reports").glob("*-soak-*/01/latest/results.json")
    assert json.loads(results.read_text())["run"]["interrupted"]


@pytest.mark.parametrize("results", ["pytest ended with 3 before any result"])
def test_a_run_without_results_is_broken(results: str) -> None:
    """It is no pass, and steadily broken is not steady."""
    lap = Lap.of(results)
    assert set(lap.criteria.values()) == {"broken"}
    assert unsteady([lap, lap]) == list(DECIDING)
