"""`harness controls` on a suite made for the purpose, with faults from a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from harness import report
from harness.process import Completed, run
from tests.waiting import patient

ROOT = Path(__file__).parents[2]

FILES = {
    "pytest.ini": """\
        [pytest]
        addopts = --import-mode=importlib -p no:cacheprovider -p timeout
          -p harness.plugin
        """,
    "suites/test_store.py": """\
        import pytest

        from harness.evidence import Check
        from harness.errors import NotExercised

        @pytest.mark.criterion("gc-no-estale")
        @pytest.mark.scenario("collected")
        def test_store(fault, check):
            name = fault.name if fault else ""
            if name == "breaks":
                raise NotExercised("it collected")
            check(Check("reads back", name != "is-told", True))
            check(Check("sessions run on", name != "told-elsewhere", True))

        @pytest.mark.criterion("swap-keeps-address")
        def test_swap(fault, check):
            check(Check("one MAC", not fault or fault.name != "is-told", True))
        """,
    "faults.py": """\
        from harness.fault import Fault, must_fail

        class Bad(Fault):
            '''It goes wrong.'''

            source = "here"
            expects = must_fail("gc-no-estale", "reads back")

        class Told(Bad):
            '''It goes wrong.'''

            name = "is-told"

        class Collateral(Told):
            '''It goes wrong.'''

            criteria = ("gc-no-estale", "swap-keeps-address")

        class Elsewhere(Bad):
            '''It goes wrong.'''

            name = "told-elsewhere"

        class Silent(Bad):
            '''It goes wrong.'''

            name = "goes-unnoticed"

        class Breaks(Bad):
            '''It goes wrong.'''

            name = "breaks"

        class Nowhere(Bad):
            '''It goes wrong.'''

            name = "nowhere"
            scenario = "gone"

        class Harmless(Fault):
            '''It is odd.'''

            name = "harmless"
            criteria = ("gc-no-estale",)
            scenario = "collected"
            benign = True
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Lay out a project with suites and faults of its own."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))
    return tmp_path


def controls(project: Path, *args: str) -> Completed:
    """Run the command there."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return run(
        [
            sys.executable,
            "-c",
            "from harness.cli import main; main()",
            "controls",
            *args,
        ],
        deadline=patient(55, "harness controls"),
        cwd=project,
        env=kept | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


def verdicts(project: Path) -> dict[str, str]:
    """Read what the report says of each control."""
    (file,) = (project / "reports").glob("*-controls-*/results.json")
    return {c.id: c.verdict for c in report.load(file).controls}


def test_caught_and_quiet_is_success(project: Path) -> None:
    """Faults from a file are run, ruled on, reported and shown."""
    ended = controls(project, "faults.py:Told", "--fault", "faults.py:Harmless")
    assert ended.rc == 0, ended.stdout + ended.stderr
    assert verdicts(project) == {"is-told": "caught", "harmless": "quiet"}
    assert "1 caught, 1 quiet" in ended.stdout
    assert "reads back" in ended.stdout
    assert "1/2 is-told: It goes wrong" in ended.stderr


def test_side_by_side_and_into_a_run(project: Path) -> None:
    """Two at a time are reported in the given order, also in the report of a run."""
    run_report = project / "reports" / "latest"
    ended = controls(project, "faults.py:Told", "--into", str(run_report))
    assert ended.rc == 2
    assert "there is no results.json" in ended.stderr
    healthy = run(
        [sys.executable, "-m", "pytest", "suites"],
        deadline=patient(30, "a healthy run"),
        cwd=project,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
    )
    assert healthy.rc == 5, "two of five are judged"
    names = ("faults.py:Told", "faults.py:Silent", "faults.py:Harmless")
    ended = controls(project, *names, "-j", "2", "--into", str(run_report))
    assert ended.rc == 1
    told = report.load(run_report / "results.json")
    assert [(c.id, c.verdict) for c in told.controls] == [
        ("is-told", "caught"),
        ("goes-unnoticed", "missed"),
        ("harmless", "quiet"),
    ]
    assert len(told.tests) == 2
    assert "goes-unnoticed" in (run_report / "index.html").read_text()


def test_whatever_else_is_failure(project: Path) -> None:
    """Missed and broken end with 1; a check of another name catches nothing."""
    names = ("Elsewhere", "Silent", "Breaks", "Nowhere")
    ended = controls(project, *(f"faults.py:{name}" for name in names))
    assert ended.rc == 1, ended.stdout + ended.stderr
    assert verdicts(project) == {
        "told-elsewhere": "missed",
        "goes-unnoticed": "missed",
        "breaks": "broken",
        "nowhere": "broken",
    }
    assert "another check: sessions run on" in ended.stdout
    assert "expected it collected" in ended.stdout
    assert "selects no test" in ended.stderr
    assert "there are: gc-no-estale: collected" in ended.stderr


def test_collateral_is_failure(project: Path) -> None:
    """A fault that fails what it was not to fail is not understood."""
    ended = controls(project, "faults.py:Collateral")
    assert ended.rc == 1
    (file,) = (project / "reports").glob("*-controls-*/results.json")
    (control,) = report.load(file).controls
    assert control.verdict == "caught"
    assert control.collateral == ("swap-keeps-address",)


def test_wrong_names_are_told(project: Path) -> None:
    """Before anything runs."""
    ended = controls(project, "no-such-fault")
    assert ended.rc == 2
    assert "no built-in fault is named 'no-such-fault'" in ended.stderr
    ended = controls(project, "--only", "gc-no-stale")
    assert ended.rc == 2
    assert not (project / "reports").exists()
