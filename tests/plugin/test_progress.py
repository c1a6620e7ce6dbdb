"""Live lines: how far a run is, and what is left of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from harness.cli.say import left_text
from harness.plugin import live
from harness.report.history import durations, remaining
from harness.report.model import dump
from harness.report.model import load as load_results
from tests.plugin.child import Child

if TYPE_CHECKING:
    from pathlib import Path

SUITE = {
    "suites/test_many.py": """
        import threading

        import pytest

        @pytest.mark.criterion("gc-no-estale")
        @pytest.mark.parametrize("number", range(10))
        def test_each(number):
            threading.Event().wait(0.1)

        @pytest.mark.criterion("swap-keeps-address")
        def test_other():
            pass
    """,
}
PLACE = re.compile(r" s(?: gw\d)?  ( ?\d+/\d+)(?:  +(~\d+:\d\d left))?  passed ")


@pytest.mark.parametrize(
    ("waiting", "running", "workers", "left"),
    [
        ([], {}, 1, 0),
        (["a", "b"], {}, 1, 40),
        (["a", "b"], {}, 2, 30),  # no run ends before its longest test
        (["a", "b", "c", "d"], {}, 2, 40),  # c and d: 20, the mean
        (["a"], {"b": 12.0}, 1, 28),
        ([], {"b": 99.0}, 2, 0),  # late already
        (["c"], {}, 0, 20),
    ],
)
def test_what_is_left(
    waiting: list[str], running: dict[str, float], workers: int, left: float
) -> None:
    """Recorded durations, shared by the workers."""
    assert remaining({"a": 10, "b": 30}, waiting, running, workers) == left


def test_without_records_nothing_is_estimated() -> None:
    """No earlier report knows any of the tests."""
    assert remaining({}, ["a"], {"b": 3.0}, 2) is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "~0:00 left"), (59.6, "~1:00 left"), (3725, "~1:02:05 left")],
)
def test_an_estimate_in_words(seconds: float, said: str) -> None:
    """Minutes and seconds, with hours where there are some."""
    assert live.left_text(seconds) == said


@pytest.mark.parametrize(
    ("took", "count", "jobs", "said"),
    [
        ([], 3, 1, ""),
        ([60.0, 120.0], 4, 1, ", about 3:00 left"),
        ([60.0, 120.0], 4, 2, ", about 1:30 left"),
        ([60.0], 1, 1, ""),
    ],
)
def test_a_series_estimates_from_its_own(
    took: list[float], count: int, jobs: int, said: str
) -> None:
    """By the mean of what ended; nothing before the first, or after the last."""
    assert left_text(took, count, jobs) == said


@pytest.mark.parametrize("args", [(), ("-n", "2")], ids=["plain", "xdist"])
def test_lines_count_the_selected_tests(tmp_path: Path, args: tuple[str, ...]) -> None:
    """From 1/10 to 10/10 without an estimate; with one when a report is there."""
    child = Child.made_of(tmp_path, SUITE)
    first = PLACE.findall(child.run("suites", "-k", "each", *args).stdout)
    assert first == [(f"{number:2}/10", "") for number in range(1, 11)]
    _slow_down(child.latest / "results.json")
    again = PLACE.findall(child.run("suites", *args).stdout)
    assert [place for place, _ in again] == [f"{n:2}/11" for n in range(1, 12)]
    minutes = {int(left[1:].partition(":")[0]) for _, left in again[:2]}
    # Ten tests of 120 s each, and one that is not known: 20 minutes in one process.
    assert minutes <= ({17, 18, 19, 20} if not args else {8, 9, 10}), again
    assert again[-1][1] == "~0:00 left"


def test_the_newest_report_that_knows_a_test_counts(tmp_path: Path) -> None:
    """Broken tests, strange files and other tests are passed over."""
    child = Child.made_of(tmp_path, SUITE)
    child.run("suites")
    file, reports = child.latest / "results.json", tmp_path / "reports"
    _slow_down(file)
    results = load_results(file)
    other = "suites/test_many.py::test_other"
    for name, outcome in (("29991231T000000Z-aaaa", "broken"), ("2999-bbbb", "passed")):
        tests = [
            test.model_copy(update={"duration_s": 7.0, "outcome": outcome})
            for test in results.tests
            if test.nodeid == other or outcome == "broken"
        ]
        (reports / name).mkdir()
        text = dump(results.model_copy(update={"tests": tuple(tests)}))
        (reports / name / "results.json").write_text(text)
    (reports / "2999-cccc").mkdir()
    (reports / "2999-cccc" / "results.json").write_text("{")
    each = "suites/test_many.py::test_each[1]"
    assert durations(reports, {each, other, "no::test"}) == {each: 120.0, other: 7.0}


def _slow_down(file: Path) -> None:
    """Have every test of a report taken two minutes."""
    results = load_results(file)
    tests = tuple(t.model_copy(update={"duration_s": 120.0}) for t in results.tests)
    file.write_text(dump(results.model_copy(update={"tests": tests})))
