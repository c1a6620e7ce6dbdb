"""What a run's exit status says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.criteria import DECIDING, REGISTER, Verdict
from harness.plugin.ending import status_of
from harness.report.model import CriterionResult, Results, RunSummary, TestResult
from tests.plugin.child import ROOT, Child

if TYPE_CHECKING:
    from pathlib import Path

ALL_PASS = {
    "suites/test_five.py": f"""
        import pytest

        from harness.evidence import Check


        @pytest.mark.parametrize(
            "n",
            [
                pytest.param(c, marks=pytest.mark.criterion(c))
                for c in {DECIDING}
            ],
        )
        def test_decides(n, check):
            check(Check("held", True, True))
    """,
    "tests/test_own.py": """
        def test_own():
            pass
    """,
}


def results(*, full: bool, outcome: str = "passed", missing: str = "") -> Results:
    """Make results in which all of the five passed, but for one that is `missing`."""
    return Results(
        run=RunSummary(id="x", started="", duration_s=0, full=full),
        criteria=tuple(
            CriterionResult(
                id=row.id,
                verdict=(
                    Verdict.PASS
                    if row.decides and row.id != missing
                    else Verdict.NOT_RUN
                ),
                reason="-",
            )
            for row in REGISTER
        ),
        tests=(TestResult.model_validate({"nodeid": "t", "outcome": outcome}),),
    )


@pytest.mark.parametrize(
    ("given", "before", "after"),
    [
        (results(full=True), 0, 0),
        (results(full=True, missing="gc-no-estale"), 0, 5),
        (results(full=True, outcome="broken"), 1, 3),
        (results(full=True, outcome="failed"), 1, 1),
        (results(full=False, missing="gc-no-estale"), 0, 0),
        (results(full=False, outcome="broken"), 1, 3),
        (results(full=False, outcome="failed"), 1, 1),
        (results(full=False, outcome="skipped"), 0, 5),
        (results(full=True), 3, 3),
        (results(full=True), 1, 1),
    ],
)
def test_exit_status(given: Results, before: int, after: int) -> None:
    """A full run needs all five; a part of one its own criteria."""
    assert status_of(given, before)[1] == after


@pytest.mark.parametrize("number", [1, 2, 15])
def test_a_signal_goes_first(number: int) -> None:
    """As a shell names it, also where a test failed."""
    given = results(full=True, outcome="failed")
    assert status_of(given, 2, signal=number) == ("interrupted", 128 + number)


def test_a_partial_run_may_be_enough() -> None:
    """Not where a test failed, nor where none passed; the word stays true."""
    for outcome, said in (
        ("passed", ("undecided", 0)),
        ("failed", ("fail", 1)),
        ("broken", ("broken", 3)),
        ("skipped", ("undecided", 5)),
    ):
        given = results(full=True, outcome=outcome, missing="gc-no-estale")
        assert status_of(given, 0, allow_partial=True) == said


def test_full_and_partial_runs(tmp_path: Path) -> None:
    """All five passed is 0, four of five is 5, and four chosen by -k is 0 again."""
    child = Child.made_of(tmp_path, ALL_PASS)
    assert child.run("suites").rc == 0
    assert child.results().run.full
    assert child.run("suites", "-k", "not inodes").rc == 0
    chosen = child.results()
    assert not chosen.run.full
    assert chosen.verdict("inodes-within-budget") is Verdict.NOT_RUN
    one_less = f"DECIDING = {DECIDING[:-1]}"
    text = (tmp_path / "suites/test_five.py").read_text()
    (tmp_path / "suites/test_five.py").write_text(
        one_less + text.replace(str(DECIDING), "DECIDING")
    )
    assert child.run("suites").rc == 5


@pytest.mark.parametrize("args", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_a_bad_spec_is_one_message(tmp_path: Path, args: tuple[str, ...]) -> None:
    """It ends a run with 2 before anything is run or written."""
    child = Child.made_of(tmp_path, ALL_PASS)
    (tmp_path / "fleet.toml").write_text('[network]\nsubnet = "x"\n[budget]\n')
    ended = child.run("suites", *args)
    assert ended.rc == 2
    said = ended.stdout + ended.stderr
    assert "network.subnet" in said
    assert "budget" in said
    assert "Traceback" not in said
    assert child.run("suites", "--fleet", "gone.toml", *args).rc == 2
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("args", [(), ("-n", "2")], ids=["plain", "xdist"])
@pytest.mark.parametrize("nope", ["suites/nope", "suites/test_five.py::test_nope"])
def test_a_suite_that_is_not_there(
    tmp_path: Path, args: tuple[str, ...], nope: str
) -> None:
    """An error of the command line, also where only xdist's workers see it."""
    child = Child.made_of(tmp_path, ALL_PASS)
    ended = child.run(nope, "--must-judge", *args)
    assert ended.rc == 2
    assert nope in ended.stderr
    assert ended.stdout.splitlines()[-1] == "verdict: error status=2"
    assert not child.reports


def test_a_host_without_programs_is_one_message(
    tmp_path: Path,
) -> None:
    """All that is missing is named with its remedy, and nothing is run."""
    child = Child.made_of(tmp_path, ALL_PASS)
    (tmp_path / "fleet.toml").write_text((ROOT / "fleet.toml").read_text())
    (tmp_path / "conftest.py").write_text(
        "from harness.host import programs\nprograms.PROGRAMS = ("
        "programs.Program('no-such-emulator', 'emulator'),"
        " programs.Program('no-such-tool', 'tools'))\n"
    )
    ended = child.run("suites")
    assert ended.rc == 2
    said = ended.stdout + ended.stderr
    assert "no-such-emulator: not installed: apt install emulator" in said
    assert "no-such-tool: not installed: apt install tools" in said
    assert not (tmp_path / "reports").exists()


def test_thorough_tests_are_asked_for(tmp_path: Path) -> None:
    """A run of all leaves them out and is full; --thorough or their name takes them."""
    long = """
        import pytest

        from harness.evidence import Check

        @pytest.mark.thorough
        @pytest.mark.criterion("bento-pull")
        def test_long(check):
            check(Check("held", True, True))
    """
    child = Child.made_of(tmp_path, {**ALL_PASS, "suites/long/test_long.py": long})
    for args, verdict in (
        (("suites",), Verdict.NOT_RUN),
        (("suites", "-n", "1"), Verdict.NOT_RUN),
        (("suites", "--thorough"), Verdict.PASS),
        (("suites/long",), Verdict.PASS),
    ):
        assert child.run(*args).rc == 0
        told = child.results()
        assert told.verdict("bento-pull") is verdict
        assert told.run.full is ("suites" in args)


def test_own_tests_open_no_report(tmp_path: Path) -> None:
    """The instrument's own tests leave nothing, by path or by default."""
    child = Child.made_of(tmp_path, ALL_PASS)
    for args in ((), ("tests", "-n", "1")):
        assert child.run(*args).rc == 0
    assert not (tmp_path / "reports").exists()


def test_a_suite_that_cannot_be_listed(tmp_path: Path) -> None:
    """A file that does not import is reported, and is no success."""
    files = {"suites/test_torn.py": "import nothing_of_this_name\n"}
    child = Child.made_of(tmp_path, files)
    ended = child.run("suites")
    assert ended.rc != 0
    told = child.results()
    assert "nothing_of_this_name" in told.run.uncollected[0]
    assert told.criteria[0].reason == "some tests could not be listed"


def test_report_dir_is_an_option(tmp_path: Path) -> None:
    """`--report-dir` moves the report, and collecting alone makes none."""
    child = Child.made_of(tmp_path, ALL_PASS)
    assert child.run("suites", "--collect-only").rc == 0
    assert not (tmp_path / "reports").exists()
    assert child.run("suites", "--report-dir", "elsewhere").rc == 0
    assert (tmp_path / "elsewhere" / "latest" / "index.html").is_file()
