"""`--list-criteria`, and the errors about misused markers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.criteria import ControlVerdict
from harness.exits import Exit
from harness.report import dump
from tests.plugin.child import Child
from tests.report.samples import results, with_controls

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {
    "suites/test_a.py": """
        import pytest


        @pytest.mark.criterion("gc-no-estale", "bento-pull")
        @pytest.mark.stage("onboarded")
        def test_a():
            raise SystemExit("must not run")
    """
}
MISUSED = {
    "suites/test_b.py": """
        import pytest


        @pytest.mark.criterion("gc-no-stale")
        def test_typo():
            pass


        @pytest.mark.criterion("gc-no-estale")
        @pytest.mark.stage("onborded")
        def test_stage():
            pass


        @pytest.mark.criterion("gc-no-estale")
        def test_no_stage(dev):
            pass
    """
}


def test_register_with_tests(tmp_path: Path) -> None:
    """Each row is printed with its tests; nothing runs, nothing is written."""
    child = Child.made_of(tmp_path, GOOD)
    ended = child.run("--list-criteria")
    assert ended.rc == 0, ended.stdout
    lines = ended.stdout.splitlines()
    row = lines.index("* gc-no-estale: garbage collection produces no ESTALE")
    assert lines[row + 1].startswith(
        "      decided by every file of every live closure"
    )
    assert "      suites/test_a.py::test_a" in lines[row + 2 : row + 4]
    assert "      (no test)" in lines
    assert "must not run" not in ended.stdout
    assert not (tmp_path / "reports").exists()


def test_register_with_faults(tmp_path: Path) -> None:
    """Each row has its faults, with the rulings of the newest report."""
    child = Child.made_of(tmp_path, GOOD)
    listed = child.listed()
    assert re.search("must detect [0-9]+ faults: killmode-control-group,", listed)
    assert "decided by not one lost probe to the old VM" in listed
    newest = with_controls(results())
    (missed, *_) = newest.controls
    older = newest.model_copy(
        update={
            "run": newest.run.model_copy(update={"started": "2020-01-01T00:00:00"}),
            "controls": (missed.model_copy(update={"verdict": ControlVerdict.MISSED}),),
        }
    )
    for name, each in (("20260101T000000Z", newest), ("20200101T000000Z", older)):
        (tmp_path / "reports" / name).mkdir(parents=True)
        (tmp_path / "reports" / name / "results.json").write_text(dump(each))
    (tmp_path / "reports" / "2torn").mkdir()
    (tmp_path / "reports" / "2torn" / "results.json").write_text("{")
    ended = "faults, in the last run here 1 caught: killmode-control-group; [0-9]+ not"
    assert re.search(ended, child.listed())


def test_register_without_suites(tmp_path: Path) -> None:
    """The register is printed even where there is no test at all."""
    child = Child.made_of(tmp_path, {"suites/README": ""})
    ended = child.run("--list-criteria")
    assert ended.rc == 0, ended.stdout
    assert "checkout-sops" in ended.stdout


@pytest.mark.parametrize("args", [("suites",), ("--list-criteria",)])
def test_misused_markers_are_all_told(tmp_path: Path, args: tuple[str, ...]) -> None:
    """A wrong id, a wrong stage and a missing stage are one usage error."""
    child = Child.made_of(tmp_path, MISUSED)
    ended = child.run(*args)
    assert ended.rc == Exit.ERROR
    assert 'criterion("gc-no-stale") is no row of the register' in ended.stderr
    assert 'stage("onborded") is none of' in ended.stderr
    assert "it uses `dev` but does not say from which stage" in ended.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--list-criteria", "-n", "1"), "leave out -n"),
        (("suites", "--keep-machines", "-n", "1"), "leave out -n"),
        (("suites", "--fault", "nocolon"), "a file is FILE:CLASS"),
        (("suites", "--accel", "xen"), "--accel xen: one of auto, kvm, tcg"),
        (("suites", "--adopt-vm", "dev"), "nothing without --adopt-unit"),
        (("suites", "--setup-plan"), "nothing would be judged"),
        (("tests", "--thorough"), "no test of a suite, only tests"),
        (("--fleet", "x.toml"), "no test of a suite, only tests"),
        (("--list-criteria", "--fastest"), "leave out --fastest"),
        (("tests", "--must-judge"), "no test of a suite, only tests"),
        (("suites", "suites/x.py", "--must-judge"), "SUITES='suites/x.py'"),
    ],
)
def test_bad_options(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    """Options that make no sense are refused in words."""
    child = Child.made_of(tmp_path, GOOD)
    ended = child.run(*args)
    assert ended.rc == Exit.ERROR
    assert said in ended.stderr


def test_misuse_is_readable_from_a_worker(tmp_path: Path) -> None:
    """Under xdist the same words arrive, and the run is no success."""
    child = Child.made_of(tmp_path, MISUSED)
    ended = child.run("suites", "-n", "1")
    assert ended.rc != 0
    assert "it uses `dev` but does not say from which stage" in (
        ended.stdout + ended.stderr
    )
